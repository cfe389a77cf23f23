"""Writes the golden database of the current schema: `python tests/storage/golden_database.py`.

Run it once when a revision is new, and commit the file; it is never written again, only upgraded by tests.
"""

from pathlib import Path

from storage.open import open_store
from storage.records import Status
from storage.sql.schema import HEAD
from storage.testing.samples import VirtualClock, curve, done, entries_of, failed, sample_job, sample_key

FOLDER = Path(__file__).parents[1] / "golden" / "databases"


def write(path: Path) -> None:
    """A sweep with a job in every state that lasts: done with a curve, failed, held, waiting; and an artifact."""
    path.unlink(missing_ok=True)
    store = open_store(path, clock=VirtualClock())
    key = sample_key()
    jobs = [sample_job(makes=key), sample_job(1, needs=(key,)), sample_job(2), sample_job(3), sample_job(4)]
    store.save_sweep("golden", "name: golden\n", entries_of(*jobs))
    ((maker, lease),) = store.claim("golden", "writer", 1, 60.0)
    store.finish(lease, done(maker.job))
    (first, first_lease), (second, second_lease) = store.claim("golden", "writer", 2, 60.0)
    store.start(first_lease)
    store.finish(first_lease, done(first.job, 81.5, curve(2.0, 1.0)))
    store.finish(second_lease, failed(second.job))
    store.set_status([jobs[3].job_id], Status.HELD)
    store.close()


if __name__ == "__main__":
    write(FOLDER / f"{HEAD}.db")
