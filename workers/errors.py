"""Errors of this package. Each says by its class how the loop must treat the attempt that raised it."""

from __future__ import annotations

from typing import ClassVar

from storage.records import FailureClass


class WorkerError(Exception):
    """Base of all errors of this package; `failure_class` is what the attempt's Failure will carry.

    WorkerError
    ├── UnknownDataset     no data set of that name
    ├── DataMissing        a data set's folder, list or image is not where it was looked for
    ├── DataChanged        the data found are not those that the job names by hash
    ├── DataUnreadable     a list or an image is damaged (the message names the file)
    ├── SplitForbidden     a phase asked for a split it must not see
    ├── UnknownBackbone    no backbone of that name
    ├── WeightsMissing     the weights are neither here nor to be had
    ├── WeightsMismatch    a weights file does not fit the architecture, or is not the file the job names
    ├── Unsupported        the job asks for something that this trainer or device cannot do
    ├── DeltaMismatch      a delta checkpoint does not fit the model it is loaded into
    ├── ArtifactMissing    a shared artifact is not where the home should have it
    ├── DiskFull           the disk has no room for what must be written
    ├── ParentMissing      the delta that an evaluate job reads is not where the home should have it
    ├── MeasureFailed      the process that measures speed and memory ended without an answer
    ├── ExportFailed       a trained model cannot be written as asked, or what was written is not the model
    ├── ConversionFailed   a source of images cannot be taken over as asked, or not be written
    └── Diverged           the loss became NaN or infinite
    """

    failure_class: ClassVar[FailureClass] = FailureClass.USER_ERROR


class UnknownDataset(WorkerError):
    """No data set of that name."""


class DataMissing(WorkerError):
    """A folder, list or image is not where it was looked for."""


class DataChanged(WorkerError):
    """The data found are not those that the job names by hash."""


class DataUnreadable(WorkerError):
    """A list or an image is damaged."""


class SplitForbidden(WorkerError):
    """A phase asked for a split it must not see."""


class UnknownBackbone(WorkerError):
    """No backbone of that name."""


class WeightsMissing(WorkerError):
    """The weights are neither here nor to be had."""


class WeightsMismatch(WorkerError):
    """A weights file does not fit the architecture, or is not the file the job names."""


class Unsupported(WorkerError):
    """The job asks for something that this trainer or device cannot do."""


class DeltaMismatch(WorkerError):
    """A delta checkpoint does not fit the model it is loaded into."""


class ArtifactMissing(WorkerError):
    """A shared artifact is not where the home should have it."""

    failure_class = FailureClass.TRANSIENT


class DiskFull(WorkerError):
    """The disk has no room for what must be written."""

    failure_class = FailureClass.TRANSIENT


class ParentMissing(WorkerError):
    """The delta that an evaluate job reads is not where the home should have it; waiting does not bring it."""


class MeasureFailed(WorkerError):
    """The process that measures speed and memory failed, or ended without an answer."""

    failure_class = FailureClass.CRASH


class ExportFailed(WorkerError):
    """A trained model cannot be written as asked, or what was written does not give its logits."""


class ConversionFailed(WorkerError):
    """A source of images cannot be taken over as asked, or the target cannot be written."""


class Diverged(WorkerError):
    """The loss became NaN or infinite."""

    failure_class = FailureClass.DIVERGED
