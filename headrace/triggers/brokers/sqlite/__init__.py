"""The embedded log: one SQLite file that several processes of one host share.

The way of a write: `log` hands it to `writer`, whose one thread gathers what waits into a `transaction`, commits it
under the `turnstile`, and rings `watch`. Reads go through `reader`, on a connection of their own.
"""

from headrace.triggers.brokers.sqlite.log import SqliteLog

__all__ = ["SqliteLog"]
