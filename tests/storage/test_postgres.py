"""The contract on PostgreSQL, in a schema of its own per test: set SWEEPBOARD_TEST_POSTGRES to a SQLAlchemy URL."""

import os
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, make_url, text

from storage.open import open_store
from storage.store import StoreUnavailable
from storage.testing import StoreContract

URL = os.environ.get("SWEEPBOARD_TEST_POSTGRES")


@pytest.fixture(scope="module")
def server():
    engine = create_engine(make_url(URL).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.mark.skipif(not URL, reason="SWEEPBOARD_TEST_POSTGRES names no server")
class TestPostgres(StoreContract):
    @pytest.fixture
    def connect(self, clock, server):
        schema, opened = f"sweepboard_{uuid4().hex}", []
        with server.connect() as conn:
            conn.execute(text(f"CREATE SCHEMA {schema}"))
        url = make_url(URL).update_query_dict({"options": f"-csearch_path={schema}"})

        def open_again():
            opened.append(open_store(url.render_as_string(hide_password=False), clock=clock))
            return opened[-1]

        yield open_again
        for store in opened:
            store.close()
        with server.connect() as conn:
            conn.execute(text(f"DROP SCHEMA {schema} CASCADE"))

    def test_those_who_open_a_new_schema_at_once_all_get_it(self, connect):
        with ThreadPoolExecutor(4) as pool:
            stores = list(pool.map(lambda _: connect(), range(4)))
        assert [store.sweeps() for store in stores] == [()] * 4


@pytest.mark.skipif(not URL, reason="SWEEPBOARD_TEST_POSTGRES names no server")
def test_without_a_clock_the_servers_time_counts(server):
    schema = f"sweepboard_{uuid4().hex}"
    with server.connect() as conn:
        conn.execute(text(f"CREATE SCHEMA {schema}"))
    url = make_url(URL).update_query_dict({"options": f"-csearch_path={schema}"})
    store = open_store(url.render_as_string(hide_password=False))
    store.append_event("note", {})
    with server.connect() as conn:
        server_s = float(conn.scalar(text("SELECT extract(epoch FROM clock_timestamp())")))
        assert server_s - 60 < store.events()[0].at_s <= server_s
        store.close()
        conn.execute(text(f"DROP SCHEMA {schema} CASCADE"))


def test_a_server_that_does_not_answer_is_an_error_that_says_so_and_hides_the_password():
    with pytest.raises(StoreUnavailable, match="Check that the server runs") as caught:
        open_store("postgresql://someone:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(caught.value)
