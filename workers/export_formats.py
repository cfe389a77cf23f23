"""An exported model as one graph: torch.export and ONNX. What was written is run and compared."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workers.errors import ExportFailed

TOLERANCE = 1e-4
"""Largest difference of two logits that counts as equal, in fp32."""

_TRACED_BATCH = 2
_BATCHES = (1, 3)  # neither is the one that was traced


def write_format(name: str, model: nn.Module, images: Tensor, folder: Path) -> Path:
    """Write the model (on the CPU, in eval mode) as a graph that takes any batch size.

    `images`: (B, 3, size, size), B at least 3, that both are compared on. Raises ExportFailed, OSError.
    """
    path = folder / FORMATS[name]
    try:
        with _quiet():
            _WRITERS[name](model, images, path)
    except (ExportFailed, OSError):
        raise
    except Exception as error:  # exporters raise what they like
        first = str(error).strip().partition("\n")[0]
        path.unlink(missing_ok=True)
        raise ExportFailed(
            f"{name}: this model cannot be written ({type(error).__name__}: {first}); the safetensors part holds it "
            "whole"
        ) from error
    return path


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Between logits of one shape. Infinite where a value is not finite."""
    difference = (one.float() - other.float()).abs().max().item()
    return difference if torch.isfinite(one).all() and torch.isfinite(other).all() else float("inf")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' own deprecation warnings and progress are no concern of the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _program(name: str, model: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """The traced model, for any batch size."""
    shapes = ({0: torch.export.Dim("batch")},)
    try:
        return torch.export.export(model, (images[:_TRACED_BATCH],), dynamic_shapes=shapes)
    except Exception as error:
        if "Constraints violated" not in str(error):
            raise
        raise ExportFailed(
            f"{name}: a graph of this model would take batches of {_TRACED_BATCH} images only (tokens are picked by "
            "index, per image); use model.safetensors with load.py"
        ) from error


def _torch_export(model: nn.Module, images: Tensor, path: Path) -> None:
    torch.export.save(_program("torch_export", model, images), path)
    reloaded = torch.export.load(path).module()
    _compare(path, model, images, reloaded)


def _onnx(model: nn.Module, images: Tensor, path: Path) -> None:
    absent = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if absent:
        raise ExportFailed(f"onnx: needs {' and '.join(absent)}: pip install 'sweepboard[export]'")
    torch.onnx.export(
        _program("onnx", model, images),
        (),
        path,
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        external_data=False,
        verbose=False,
    )
    if find_spec("onnxruntime") is not None:
        import onnxruntime

        session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        _compare(path, model, images, lambda part: torch.from_numpy(session.run(None, {"images": part.numpy()})[0]))


def _compare(path: Path, model: nn.Module, images: Tensor, run: Callable[[Tensor], Tensor]) -> None:
    for size in _BATCHES:
        difference = largest_difference(run(images[:size]), model(images[:size]))
        if not difference <= TOLERANCE:
            path.unlink(missing_ok=True)
            raise ExportFailed(
                f"{path.name}: its logits for {size} images differ from the model's by {difference:.2g}; expected at "
                f"most {TOLERANCE:g}"
            )


FORMATS: Mapping[str, str] = {"torch_export": "model.pt2", "onnx": "model.onnx"}
"""Format -> file."""

_WRITERS: Mapping[str, Callable[[nn.Module, Tensor, Path], None]] = {"torch_export": _torch_export, "onnx": _onnx}
