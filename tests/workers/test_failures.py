"""Failures in the words of the loop."""

from __future__ import annotations

import errno

import pytest
import torch

from methods.api import MissingArtifact, UnknownMethod
from storage.records import FailureClass
from workers.errors import ArtifactMissing, Diverged, SplitForbidden
from workers.failures import classified


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SplitForbidden("no"), FailureClass.USER_ERROR),
        (UnknownMethod("no"), FailureClass.USER_ERROR),
        (Diverged("nan"), FailureClass.DIVERGED),
        (ArtifactMissing("gone"), FailureClass.TRANSIENT),
        (MissingArtifact("gone"), FailureClass.TRANSIENT),
        (torch.OutOfMemoryError("CUDA out of memory"), FailureClass.CUDA_OOM),
        (MemoryError(), FailureClass.HOST_OOM),
        (OSError(errno.ENOSPC, "No space left on device", "/cache/x"), FailureClass.TRANSIENT),
        (ConnectionResetError(), FailureClass.TRANSIENT),
        (ZeroDivisionError("division by zero"), FailureClass.CRASH),
    ],
)
def test_each_error_has_its_class(error, expected):
    assert classified(error).failure_class == expected


def test_torchs_own_allocator_failing_on_the_host_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert classified(caught.value).failure_class == FailureClass.HOST_OOM


def test_a_full_disk_comes_with_advice_and_the_place():
    message = classified(OSError(errno.ENOSPC, "No space left on device", "/cache/x")).message
    assert "free space" in message
    assert "/cache/x" in message


def test_the_detail_ends_with_the_trace():
    try:
        raise ZeroDivisionError("here")
    except ZeroDivisionError as error:
        detail = classified(error).detail
    assert detail.splitlines()[-1] == "ZeroDivisionError: here"
