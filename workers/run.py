"""One job from its record to its result: the one function that every process of every pool executes."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from methods import registry
from methods.api import BackboneFacts, MethodError
from methods.params import resolve_params
from storage.records import Failure, Job, Lease, Phase, Result, Status
from storage.records.spool import write_spool
from workers.adapted import job_methods
from workers.backbone_facts import facts, facts_at
from workers.bundle import Bundle
from workers.clock import Stopwatch
from workers.errors import Unsupported
from workers.failures import classified
from workers.phases import PHASES
from workers.reporting import Reporter, Stopped
from workers.revision import TRAINER_REVISION
from workers.running import Outcome, Running
from workers.segmentation.rules import refusal
from workers.site import Report, Site

_log = logging.getLogger(__name__)


def run_job(job: Job, lease: Lease, site: Site, report: Report, bundle: Bundle | None = None) -> Result:
    """Run the job and spool its result under the site's home. Never raises: failures are classified in the result.

    Between steps `report` hears where the job stands; when it answers STOP the result is `cancelled`. `bundle`: the
    jobs that this process runs before and after it, and may do some work for at once; it decides no number.
    """
    clock = Stopwatch()
    reporter = Reporter(job, lease, report)
    log_path = site.log_path(job.job_id, lease.epoch)
    try:
        with _logged(log_path), _threads(site.threads):
            result = _run(Running(job, site, torch.device(site.device), reporter, clock, bundle))
    except Exception as error:  # only the log itself can fail here
        result = _failed(job, classified(error))
    files = {**result.files, **({"log": log_path.relative_to(site.home).as_posix()} if log_path.exists() else {})}
    result = replace(result, metrics={**result.metrics, **clock.metrics()}, files=files)
    return result if job.phase is Phase.PREFLIGHT else _spooled(result, lease, site)


def _run(running: Running) -> Result:
    job, site, device = running.job, running.site, running.device
    _log.info("job %s on %s: %s", job.job_id, site.device, job.canonical())
    try:
        _check(job, site, device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        outcome = PHASES[job.phase](running)
    except Stopped:
        _log.info("stopped on request")
        return Result(job_id=job.job_id, status=Status.CANCELLED)
    except Exception as error:
        _log.exception("the job failed")
        with suppress(Stopped):  # it has ended
            running.reporter.flush()
        return _failed(job, classified(error))
    _log.info("done: %s", dict(outcome.metrics))
    return _done(job, site, outcome)


def _check(job: Job, site: Site, device: torch.device) -> None:
    """Refuse what this process cannot run as the record says. Raises Unsupported, MethodError."""
    if job.phase not in PHASES:
        raise Unsupported(f"phase {job.phase} cannot be run by this trainer; it knows {', '.join(PHASES)}")
    revisions = {"the trainer": (job.trainer_revision, TRAINER_REVISION)}
    revisions |= {f"method {call.name!r}": (call.revision, registry.facts(call.name).revision) for call in job.methods}
    for what, (planned, here) in revisions.items():
        if planned != here:
            raise Unsupported(f"the job was planned with revision {planned} of {what}, here is {here}: plan again")
    problems = [f"recipe.{name} {text}" for name, text in job.recipe.problems()]
    known = facts(job.backbone.name, site.cache)
    described = [registry.facts(call.name) for call in job.methods]
    reason = refusal(job.dataset.task, known.family if known else None, described, job.recipe)
    problems += [reason] if reason else []
    if known is not None:  # the plan, free of torch, could only read what methods declare
        problems += _misfits(job, facts_at(known, job.recipe.image_size))
    if problems:
        raise Unsupported("; ".join(problems))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise Unsupported(f"device {device} was asked for, and torch sees no CUDA device here; use device cpu")


def _misfits(job: Job, known: BackboneFacts) -> list[str]:
    """What of the stack does not fit the backbone, of what methods alone or the plan's settled values can tell."""
    found = [reason for method in job_methods(job) if (reason := method.refuses(known)) is not None]
    for call in job.methods:
        method = registry.facts(call.name)
        planned, _ = resolve_params(method, call.kwargs)
        try:
            settled = dict(method.settled(planned, known))
        except MethodError as error:
            found.append(str(error))
            continue
        found += [
            f"{call.name}.{name} is {value}, but {settled[name]} on {known.name} at {known.image_size} px: plan again"
            for name, value in planned
            if name in call.kwargs and settled[name] != value
        ]
    return found


def _done(job: Job, site: Site, outcome: Outcome) -> Result:
    metrics = dict(outcome.metrics)
    if site.device.startswith("cuda"):
        metrics["peak_mem_mib"] = torch.cuda.max_memory_allocated(site.device) / 2**20
    return Result(
        job_id=job.job_id,
        status=Status.DONE,
        metrics=metrics,
        epochs=outcome.epochs,
        files={role: path.relative_to(site.home).as_posix() for role, path in outcome.files.items()},
        facts={
            **_versions(),
            "device": torch.cuda.get_device_name(site.device) if site.device.startswith("cuda") else _cpu_name(),
            "threads": str(site.threads),
            "data_hash": job.dataset.data_hash,
        },
    )


def _failed(job: Job, failure: Failure) -> Result:
    return Result(job_id=job.job_id, status=Status.FAILED, failure=failure)


def _spooled(result: Result, lease: Lease, site: Site) -> Result:
    """The spool saves a result from a killed driver; where it cannot be written, the result is still returned."""
    try:
        write_spool(site.spool_path(result.job_id, lease.epoch), lease, result)
    except OSError as error:
        _log.warning("the result of %s could not be spooled (%s)", result.job_id, error)
        return replace(result, facts={**result.facts, "spool": f"not written: {error}"})
    return result


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("sweepboard", "torch", "timm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


@cache
def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """What this package logs within the block goes to that file only; the driver tells what a person must know."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("workers")
    propagate = logger.propagate
    logger.addHandler(handler)
    if logger.level != logging.INFO:  # and so it stays: to set a level takes as long as to write a result
        logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many threads inside torch's operations as the site says: sums depend on how they are split."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
