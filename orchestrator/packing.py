"""How many jobs fit beside each other: what each takes of memory, as preflight measured it and the store remembers.

A job whose `resources` name no `memory_gib` asks for the peak of its combination, a quarter and 512 MiB more, rounded
up to one of a few sizes: slots of few shapes stay warm. Jobs that share a GPU must fit on it together. Nothing is
guessed: a job of a combination that was never measured names no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.errors import OrchestratorError
from orchestrator.preflight import EVENT, combination_id, groups
from storage.records import Phase
from storage.store import Entry, Store
from workers.pools.protocol import Pool, Request
from workers.pools.ray_shapes import Node, slots_in

_HEADROOM = 1.25
"""Over the measured peak: a check sees few images and two steps."""
_GATHERED_MIB = 512.0
"""What a warm slot gathers above that: 0.2 to 0.5 GiB, as seen on the embedded tasks."""
_LEAST_MIB = 512.0
_EVENTS = 1000
_IN_SLOTS = (Phase.FINAL, Phase.SEARCH, Phase.EVALUATE)
_MOST_DECIMALS = 6


class DoesNotFit(OrchestratorError):
    """Jobs of the plan take more memory than there is: every combination with its peak and what would fit."""


@dataclass(frozen=True)
class Peak:
    """What a check saw. `device_mib` 0: it ran without a GPU."""

    host_mib: float = 0.0
    device_mib: float = 0.0
    device_total_mib: float = 0.0
    device: str = ""


@dataclass(frozen=True)
class Packing:
    """`mem_mib`: what jobs ask of their node's memory, by job id; those that name it themselves are not in it.

    `alike_mib`: the same by combination, for jobs that a search adds later."""

    mem_mib: Mapping[str, float] = field(default_factory=dict)
    alike_mib: Mapping[str, float] = field(default_factory=dict)

    def request(self, entry: Entry) -> Request:
        """What the entry asks of a slot."""
        request = Request.of(entry.resources)
        if request.mem_mib:
            return request
        mem_mib = self.mem_mib.get(entry.job.job_id, 0.0)
        if not mem_mib and entry.job.phase in (Phase.FINAL, Phase.SEARCH):
            mem_mib = self.alike_mib.get(combination_id(entry), 0.0)
        return replace(request, mem_mib=mem_mib)


def requests_of(entries: Iterable[Entry]) -> list[Request]:
    """The distinct shapes that the entries' own `resources` ask for, smallest first."""
    asked = (Request.of(entry.resources) for entry in entries)
    return [
        Request(cpus, gpus, mem_mib=mib) for cpus, gpus, mib in sorted({(r.cpus, r.gpus, r.mem_mib) for r in asked})
    ]


def packing(store: Store, entries: Sequence[Entry], pool: Pool, *, on_gpus: bool) -> Packing:
    """What each unfinished job asks for, by the preflight events of the store. Raises DoesNotFit with all that cannot.

    `on_gpus`: jobs get the parts of GPUs that they ask for, and share those with others.
    """
    peaks = measured(store)
    finished = {
        job_id for job_id, status in store.known(one.job.job_id for one in entries).items() if status.is_finished
    }
    found: dict[str, float] = {}
    alike: dict[str, float] = {}
    of_artifact: dict[str, float] = {}
    problems: list[str] = []
    unfinished = [entry for entry in entries if entry.job.job_id not in finished]
    for members in groups(unfinished, _IN_SLOTS):  # an evaluate job takes no more than its parent did
        peak = peaks.get(combination_id(members[0]), Peak())
        asked = Request.of(members[0].resources)
        mem_mib, problem = _fitting(pool, asked, peak.host_mib) if not asked.mem_mib else (0.0, None)
        for text in (problem, device_problem(asked.gpus, peak) if on_gpus else None):
            problems += [f"{members[0].row} on {members[0].job.backbone.name} {text}"] if text else []
        if mem_mib:
            alike[combination_id(members[0])] = mem_mib
            found |= dict.fromkeys((entry.job.job_id for entry in members), mem_mib)
            keys = {key.key_id for entry in members for key in entry.job.needs}
            of_artifact |= {key_id: max(mem_mib, of_artifact.get(key_id, 0.0)) for key_id in keys}
    if problems:
        head = "too little memory; no job was started (--no-preflight skips this):"
        raise DoesNotFit("\n".join([head, *(f"  - {text}" for text in problems)]))
    return Packing(found | _of_makers(entries, of_artifact), alike)


def measured(store: Store) -> dict[str, Peak]:
    """The last peak of every combination that was ever checked."""
    found: dict[str, Peak] = {}
    after = 0
    while events := store.events(after, _EVENTS, kind=EVENT):
        after = events[-1].event_id
        for data in (event.data for event in events):
            if "combination" in data:  # earlier versions wrote none
                found[data["combination"]] = Peak(
                    data.get("host_peak_mem_mib", 0.0),
                    data.get("device_peak_mem_mib", 0.0),
                    data.get("device_total_mem_mib", 0.0),
                    data.get("device", ""),
                )
    return found


def rounded_up_mib(mib: float) -> float:
    """The next of 512 MiB, 768 MiB, 1 GiB, 1.5 GiB, 2 GiB, 3 GiB …: powers of two and the middles between them.

    >>> [rounded_up_mib(mib) for mib in (1, 600, 1024, 1100, 5000)]
    [512.0, 768.0, 1024.0, 1536.0, 6144.0]
    """
    power = 2.0 ** math.ceil(math.log2(max(mib, _LEAST_MIB)))
    return 0.75 * power if mib <= 0.75 * power and power > _LEAST_MIB else power


def device_problem(gpus: float, peak: Peak) -> str | None:
    """Why jobs that take this part of a GPU do not fit beside each other, and the part that would do.

    >>> device_problem(0.25, Peak(device_mib=6000, device_total_mib=16384, device="T4"))
    'took 5.86 GiB of the 16 GiB of T4 in preflight, and `gpus: 0.25` puts 4 jobs on it; `gpus: 0.5` would fit'
    """
    if not 0 < gpus < 1 or not peak.device_mib:
        return None
    jobs = _jobs_per_device(gpus)
    if jobs * peak.device_mib * _HEADROOM <= peak.device_total_mib:
        return None
    fitting = max(1, math.floor(peak.device_total_mib / (peak.device_mib * _HEADROOM)))
    return (
        f"took {_gib(peak.device_mib)} of the {_gib(peak.device_total_mib)} of {peak.device} in preflight, and "
        f"`gpus: {gpus:g}` puts {jobs} jobs on it; `gpus: {_part(fitting):g}` would fit"
    )


def _jobs_per_device(gpus: float) -> int:
    return slots_in([Node("one GPU", {"GPU": 1.0})], Request(cpus=0, gpus=gpus))


def _part(jobs: int) -> float:
    """The shortest decimal that puts so many jobs on a GPU.

    >>> _part(2), _part(3), _part(15)
    (0.5, 0.3, 0.066)
    """
    parts = (math.floor(10**digits / jobs) / 10**digits for digits in range(1, _MOST_DECIMALS))
    return next((part for part in parts if part and _jobs_per_device(part) == jobs), 1.0)


def _fitting(pool: Pool, request: Request, peak_mib: float) -> tuple[float, str | None]:
    """The largest of what a job should have that some node can give; or why no node can give even its peak."""
    wanted = (rounded_up_mib(peak_mib * _HEADROOM + _GATHERED_MIB), peak_mib * _HEADROOM, peak_mib)
    problem = None
    for mem_mib in wanted if peak_mib else ():
        problem = pool.feasible(replace(request, mem_mib=mem_mib))
        if problem is None:
            return mem_mib, None
    return 0.0, problem and f"took {_gib(peak_mib)} of memory in preflight: {problem}"


def _of_makers(entries: Sequence[Entry], of_artifact: Mapping[str, float]) -> dict[str, float]:
    """A prepare job asks for what the jobs ask that need its artifact: their check made one too."""
    return {
        entry.job.job_id: of_artifact[entry.job.makes.key_id]
        for entry in entries
        if entry.job.makes is not None
        and entry.job.makes.key_id in of_artifact
        and not Request.of(entry.resources).mem_mib
    }


def _gib(mib: float) -> str:
    return f"{mib / 1024:.3g} GiB"
