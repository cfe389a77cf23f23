"""The schema: made by migrations alone, equal to the models, and every old one can still be read."""

import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import storage.migrations
from storage.open import open_store
from storage.records import Status
from storage.sql.schema import HEAD, VERSION_TABLE
from storage.sql.tables import metadata

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "databases").glob("*.db"))
VERSIONS = ScriptDirectory(str(Path(storage.migrations.__file__).parent))


def test_the_migrated_schema_is_what_the_models_say(tmp_path):
    open_store(tmp_path / "store.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_newest_revision_is_the_one_the_store_expects():
    assert VERSIONS.get_heads() == [HEAD]


def test_every_revision_has_a_golden_database():
    assert [path.stem for path in GOLDEN] == sorted(script.revision for script in VERSIONS.walk_revisions())


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_a_database_of_an_old_revision_is_upgraded_and_keeps_its_results(golden, tmp_path):
    path = shutil.copy(golden, tmp_path / "store.db")
    for _ in range(2):  # opened again, it is already new
        store = open_store(path)
        assert store.spec("golden") == "name: golden\n"
        assert store.counts("golden") == {Status.DONE: 2, Status.FAILED: 1, Status.HELD: 1, Status.PENDING: 1}
        states = store.jobs("golden")
        whole = store.job(states[1].job.job_id).result
        assert whole.metrics == {"test_top1_pct": 81.5}
        assert [epoch.metrics for epoch in whole.epochs] == [{"train_loss": 2.0}, {"train_loss": 1.0}]
        assert states[2].result.failure.message == "the loss is NaN in epoch 3"
        assert list(store.artifacts(states[1].job.needs)) == [states[0].job.makes.key_id]
        assert [event.kind for event in store.events()][-1] == "job_held"
        store.close()
