"""The embedded log: one SQLite file that several processes of one host share.

The way of a write: `log` hands it to `writer`, whose one thread gathers what waits into a `transaction`, commits it
under the `turnstile`, and rings `watch` here and the `bells` of other processes. Reads go through `reader`, on a
connection of their own. `producers` knows appends that are made again, `delayed` what waits until the
`promoter` brings it into its topic; `migration` brings older files up to `schema`.

The way of a group: each `membership` beats with its `heart`, in a transaction of `groups`, where the `coordinator`
decides for all members, with shares from `assignment`. `pulse` shows that a member lives, `vigil` tells its peers when
it dies.
"""

from headrace.triggers.brokers.sqlite.files import run_folder_of
from headrace.triggers.brokers.sqlite.log import SqliteLog

__all__ = ["SqliteLog", "run_folder_of"]
