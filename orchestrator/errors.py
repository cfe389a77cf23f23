"""The base of all errors that this package raises on purpose, and the exit codes they lead to."""

from __future__ import annotations

EXIT_OK = 0
EXIT_INTERNAL = 1  # a bug
EXIT_USAGE = 2  # wrong usage or spec
EXIT_JOBS_FAILED = 3  # finished, but some jobs failed
EXIT_NOTHING = 4  # nothing to run or show
EXIT_STORE = 5  # the store cannot be used
EXIT_DATA = 8  # a data set cannot be trusted
EXIT_INTERRUPTED = 130  # drained on request; the same command goes on


class OrchestratorError(Exception):
    """A message for a person: what is wrong (with the value), where, what was expected, what to do.

    OrchestratorError
    ├── UsageError        a command was called with something that does not exist or does not fit
    │   └── NothingToShow what it was called for is not there yet
    ├── PreflightFailed   combinations of the plan cannot run (all of them at once)
    ├── DoesNotFit        combinations of the plan take more memory than there is (all of them at once)
    └── SpecError         the spec cannot be planned (every problem at once)
    """

    exit_code = EXIT_USAGE


class UsageError(OrchestratorError):
    """A command was called with something that does not exist or does not fit."""


class NothingToShow(UsageError):
    """There is nothing yet of what a command was called for."""

    exit_code = EXIT_NOTHING
