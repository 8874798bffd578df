"""`headrace` and `python -m headrace`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 a failure the message explains, 2 wrong usage."""
    try:
        from headrace.cli import cli, streams  # noqa: PLC0415  (what is imported before this is paid by every command)
    except KeyboardInterrupt:
        sys.exit(130)
    streams.prepare()
    sys.exit(cli())


if __name__ == "__main__":
    main()
