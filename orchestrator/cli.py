"""The command `sweepboard`. Importing this loads no torch, timm, ray or mlflow: heavy things load in the command that
needs them.

Exit codes: 0 done; 1 internal error; 2 wrong usage or spec; 3 finished, but some jobs failed; 4 nothing to run or show;
5 the store cannot be used; 8 a data set cannot be trusted; 130 interrupted and drained.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib.metadata import version

from orchestrator.commands import COMMANDS, load
from orchestrator.errors import EXIT_STORE, OrchestratorError
from storage.store import StoreError


def parser() -> argparse.ArgumentParser:
    """The whole command line; each command adds its own part."""
    top = argparse.ArgumentParser(
        prog="sweepboard",
        description="Sweeps of visual adaptation jobs, from a spec to a leaderboard.",
    )
    top.add_argument("--version", action="version", version=f"sweepboard {version('sweepboard')}")
    top.add_argument("-v", "--verbose", action="store_true", help="log what happens to stderr")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        load(name).register(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; expected errors become a message on stderr and an exit code, never a traceback."""
    args = parser().parse_args(argv)
    _log_to_stderr(logging.INFO if args.verbose else logging.WARNING)
    try:
        return int(args.run(args))
    except OrchestratorError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except StoreError as error:
        print(f"store: {error}", file=sys.stderr)
        return EXIT_STORE
    except BrokenPipeError:
        return 0  # `sweepboard … | head` closed the pipe: not an error
    except KeyboardInterrupt:
        return 130


def _log_to_stderr(level: int) -> None:
    """The level is the handler's: the log file of a job takes more than a terminal should show."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
