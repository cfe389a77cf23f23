"""A finished job as a folder that works without the store: the whole model, how to load it, and what it is.

The folder is written beside its place, read back by the very code that it ships, compared with the job's model, and
renamed. Methods are folded away where they can be; where none remains, timm alone loads the result.
"""

from __future__ import annotations

import json
import runpy
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from methods import registry
from methods.api import MethodError
from methods.exported import CARRIED, CONFIG, FORMAT, MODEL, Carried, assemble, flat
from methods.stack import merge_stack
from storage.records import SEGMENTATION, Job, MethodCall, Result, thawed
from workers.adapted import AdaptedModel
from workers.backbone_facts import RAW_PIXELS
from workers.backbones import bare_architecture
from workers.checkpoint import restore, save_tensors
from workers.embedded.architectures import embedded_arguments
from workers.embedded.catalogue import EMBEDDED
from workers.errors import ExportFailed
from workers.export_formats import TOLERANCE, largest_difference, write_format
from workers.export_loader import LOADER, loader_text
from workers.site import Site

_IMAGES = 4


@dataclass(frozen=True)
class ExportRequest:
    """What to export. `formats`: of `workers.export_formats.FORMATS`, beside safetensors."""

    job: Job
    result: Result
    target: Path
    merged: bool = True
    formats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exported:
    """`remaining`: methods that could not be folded away. `difference`: the largest, of a logit on noise images.
    `failures`: formats that could not be written, and why."""

    remaining: tuple[str, ...]
    difference: float
    sizes_bytes: Mapping[str, int]
    failures: tuple[str, ...]


def export(request: ExportRequest, site: Site) -> Exported:
    """Write the folder; an earlier export of the job in its place is replaced.

    Raises ExportFailed, what `restore` raises, and OSError; the target is as before then.
    """
    if request.job.dataset.task == SEGMENTATION:
        raise ExportFailed(
            f"job {request.job.job_id} made masks, and only classifiers can be exported in this version; its delta "
            "(`sweepboard show`) holds all that was trained"
        )
    check_target(request.target, request.job.job_id)
    delta = _delta(request, site)
    _check_revisions(request.job)
    request.target.parent.mkdir(parents=True, exist_ok=True)
    draft = request.target.with_name(f".{request.target.name}.{uuid.uuid4().hex[:12]}")
    try:
        draft.mkdir()
        adapted, _ = restore(delta, site)
        images = _noise(request.job)
        expected = _logits(adapted.model, images, request.job.seed)
        try:
            remaining = _write(request, adapted, draft)
        except OSError as error:
            raise ExportFailed(
                f"cannot write {request.target}: {error}. Free some space; nothing was left there"
            ) from error
        model, difference = _read_back(draft, images, expected, request)
        failures = _write_formats(request.formats, model, images, draft)
        for path in draft.iterdir():
            path.chmod(0o644)  # a model is there to be read by others
        sizes = {path.name: path.stat().st_size for path in sorted(draft.iterdir())}
        _put_in_place(draft, request.target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Exported(remaining, difference, sizes, failures)


def check_target(target: Path, job_id: str) -> None:
    """A new or empty place, or an earlier export of the same job. Raises ExportFailed."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        found = json.loads((target / CONFIG).read_text(encoding="utf-8"))
        if found["format"] == FORMAT and found["job_id"] == job_id:
            return
        held = f"holds the export of job {found['job_id']}"
    except (OSError, ValueError, KeyError, TypeError):
        held = "is there and is no export"
    raise ExportFailed(f"{target} {held}: name a new folder, or remove that one")


def _delta(request: ExportRequest, site: Site) -> Path:
    job, result = request.job, request.result
    if job.backbone.name == RAW_PIXELS:
        raise ExportFailed(f"job {job.job_id} is on {RAW_PIXELS}: there is no backbone to export, only a linear map")
    if "delta" not in result.files:
        raise ExportFailed(
            f"job {job.job_id} (phase {job.phase}) kept no delta: only final jobs do; run it with `phase: final`"
        )
    path = site.home / result.files["delta"]
    if not path.is_file():
        raise ExportFailed(
            f"the delta of job {job.job_id} is not at {path}. Put the file back (`sweepboard store import` brings it "
            "from another home), or export from the home where the job ran"
        )
    return path


def _check_revisions(job: Job) -> None:
    for call in job.methods:
        here = registry.facts(call.name).revision
        if here != call.revision:
            raise ExportFailed(
                f"job {job.job_id} was trained with revision {call.revision} of {call.name}, here is {here}: export "
                "with the version that ran it, or run the spec again"
            )


def _noise(job: Job) -> Tensor:
    size = job.recipe.image_size
    return torch.randn(_IMAGES, 3, size or 1, size or 1, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _logits(model: nn.Module, images: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)  # tokens may be dropped at random
    logits: Tensor = model.eval()(images)
    return logits


def _write(request: ExportRequest, adapted: AdaptedModel, draft: Path) -> tuple[str, ...]:
    """The safetensors part; the names of the methods that remain."""
    job, carried = request.job, adapted.adaptation.carried
    model = merge_stack(adapted.methods, adapted.model) if request.merged else adapted.model
    backbone = _backbone(job, model)
    remaining = _remaining(model, job, backbone, carried)
    kinds = {need.kind for call in remaining for need in registry.facts(call.name).needs}
    kept = {kind: parts for kind, parts in carried.items() if kind in kinds}
    save_tensors(draft / MODEL, model.state_dict(), {"format": FORMAT, "job_id": job.job_id})
    if kept:
        save_tensors(draft / CARRIED, flat(kept), {"format": FORMAT, "job_id": job.job_id})
    config = _config(request, backbone, remaining)
    (draft / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (draft / LOADER).write_text(loader_text(config), encoding="utf-8")
    return tuple(call.name for call in remaining)


def _backbone(job: Job, model: Any) -> dict[str, Any]:
    """How `methods.exported.assemble` makes the architecture."""
    name = job.backbone.name
    found: dict[str, Any] = {"name": name}
    if name in EMBEDDED:
        found["vision_transformer"] = embedded_arguments(name)
    else:
        found["timm_name"] = name
    own: Any = bare_architecture(name)
    size = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if size is not None and tuple(size) != tuple(own.patch_embed.img_size):
        found["input_size"] = list(size)
    return found


def _remaining(model: nn.Module, job: Job, backbone: Mapping[str, Any], carried: Carried) -> tuple[MethodCall, ...]:
    """The methods without which the backbone has not the model's modules and values. Raises ExportFailed."""
    wanted = _structure(model)

    def fits(calls: Sequence[MethodCall]) -> bool:
        stack = [(call.name, call.kwargs) for call in calls]
        try:
            return _structure(assemble(backbone, job.dataset.classes, stack, carried)) == wanted
        except MethodError:
            return False

    kept = list(job.methods)
    for call in job.methods:
        fewer = [other for other in kept if other is not call]
        if fits(fewer):
            kept = fewer
    if len(kept) == len(job.methods) and not fits(kept):
        raise ExportFailed(f"{job.stack} on {job.backbone.name} cannot be built again without its training data")
    return tuple(kept)


def _structure(model: nn.Module) -> tuple[object, ...]:
    """Classes of the modules and shapes of the values, by name. Stochastic depth does nothing after training."""
    modules = ((name, nn.Identity if type(part) is DropPath else type(part)) for name, part in model.named_modules())
    values = ((name, tuple(value.shape), value.dtype) for name, value in model.state_dict().items())
    return tuple(modules), tuple(sorted(values, key=lambda value: value[0]))


def _config(request: ExportRequest, backbone: Mapping[str, Any], remaining: Sequence[MethodCall]) -> dict[str, Any]:
    job, result = request.job, request.result
    return {
        "format": FORMAT,
        "job_id": job.job_id,
        "backbone": dict(backbone),
        "weights_hash": job.backbone.weights_hash,
        "classes": job.dataset.classes,
        "class_names": None,  # data sets in the field's layout number their classes
        "input": {
            "image_size": job.recipe.image_size,
            "mean": list(job.backbone.mean),
            "std": list(job.backbone.std),
            "interpolation": job.backbone.interpolation,
            "resize": job.recipe.resize,
            "crop_pct": job.backbone.crop_pct,
        },
        "methods": [_call(call) for call in job.methods],
        "merged": request.merged,
        "remaining_methods": [_call(call) for call in remaining],
        "dataset": {"name": job.dataset.name, "data_hash": job.dataset.data_hash},
        "seed": job.seed,
        "protocol": job.protocol,
        "protocol_id": job.protocol_id,
        "metrics": {name: value for name, value in sorted(result.metrics.items()) if name.startswith("test_")},
        "versions": {name: result.facts[name] for name in ("sweepboard", "torch", "timm") if name in result.facts},
    }


def _call(call: MethodCall) -> dict[str, Any]:
    return {"name": call.name, "revision": call.revision, "params": thawed(call.kwargs)}


def _read_back(draft: Path, images: Tensor, expected: Tensor, request: ExportRequest) -> tuple[nn.Module, float]:
    """The model as the shipped loader gives it, and how far its logits are from the job's. Raises ExportFailed."""
    model: nn.Module = runpy.run_path(str(draft / LOADER))["model"]
    difference = largest_difference(_logits(model, images, request.job.seed), expected)
    if not difference <= TOLERANCE:
        advice = "; try --unmerged" if request.merged else ""
        raise ExportFailed(
            f"the exported model of job {request.job.job_id} gives logits that differ by {difference:.2g} on noise "
            f"images; expected at most {TOLERANCE:g}. Nothing was written{advice}"
        )
    return model, difference


def _write_formats(formats: Sequence[str], model: nn.Module, images: Tensor, draft: Path) -> tuple[str, ...]:
    failures = []
    for name in dict.fromkeys(formats):
        try:
            write_format(name, model, images, draft)
        except ExportFailed as error:
            failures.append(str(error))
    return tuple(failures)


def _put_in_place(draft: Path, target: Path) -> None:
    old = target.with_name(f"{draft.name}.old")
    if target.exists():
        target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
