"""What went wrong, in the words of the loop."""

from __future__ import annotations

import errno
import traceback

import torch

from methods.api import MethodError, MissingArtifact
from storage.records import Failure, FailureClass
from workers.errors import WorkerError

_TRACE_LINES = 30
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_HOST_OOM_TEXTS = ("can't allocate memory", "not enough memory")  # torch's CPU allocator raises a plain RuntimeError


def classified(error: Exception) -> Failure:
    """The failure class, one sentence for a person, and the end of the trace."""
    trace = "".join(traceback.format_exception(error)).splitlines()
    failure_class, message = _class_and_message(error)
    return Failure(failure_class, message, "\n".join(trace[-_TRACE_LINES:]))


def _class_and_message(error: Exception) -> tuple[FailureClass, str]:
    text = str(error) or type(error).__name__
    first_line = text.splitlines()[0]
    match error:
        case WorkerError():
            found = error.failure_class, text
        case MissingArtifact():
            found = FailureClass.TRANSIENT, text
        case MethodError():
            found = FailureClass.USER_ERROR, text
        case torch.OutOfMemoryError():
            advice = "lower batch_size or give the job a whole device"
            found = FailureClass.CUDA_OOM, f"the device ran out of memory: {first_line}; {advice}"
        case _ if isinstance(error, MemoryError) or any(words in text for words in _HOST_OOM_TEXTS):
            advice = "give the job more memory, or run fewer at once"
            found = FailureClass.HOST_OOM, f"this machine ran out of memory: {first_line}; {advice}"
        case OSError() if error.errno in _DISK_FULL:
            place = f" ({error.filename})" if error.filename else ""
            advice = "free space under SWEEPBOARD_HOME and SWEEPBOARD_CACHE, then retry"
            found = FailureClass.TRANSIENT, f"the disk is full{place}: {advice}"
        case OSError():
            found = FailureClass.TRANSIENT, f"reading or writing a file failed: {text}"
        case _:
            found = FailureClass.CRASH, f"{type(error).__name__}: {text}"
    return found
