"""Where everything is kept."""

import subprocess
import sys

import pytest

from storage.home import SUBFOLDERS, cache_dir, find_home, store_url
from storage.store import StoreUnavailable


def test_a_new_home_is_made_where_one_stands(tmp_path):
    home = find_home(tmp_path, {})
    assert home == tmp_path / ".sweepboard"
    assert (home / ".gitignore").read_text() == "*\n"
    assert all((home / name).is_dir() for name in SUBFOLDERS)


def test_the_nearest_home_upwards_is_found(tmp_path):
    outer, inner = tmp_path / ".sweepboard", tmp_path / "a" / ".sweepboard"
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    outer.mkdir()
    assert find_home(deep, {}) == outer
    inner.mkdir()
    assert find_home(deep, {}) == inner


def test_the_environment_names_the_home_before_all_others(tmp_path):
    (tmp_path / ".sweepboard").mkdir()
    named = tmp_path / "named" / "home"
    assert find_home(tmp_path, {"SWEEPBOARD_HOME": str(named)}) == named
    assert find_home(tmp_path, {"SWEEPBOARD_HOME": "named/home"}) == named
    assert named.is_dir()


def test_a_home_that_is_there_is_left_as_it_is(tmp_path):
    home = find_home(tmp_path, {})
    (home / ".gitignore").write_text("mine")
    assert find_home(tmp_path, {}) == home
    assert (home / ".gitignore").read_text() == "mine"


def test_a_home_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=r"file/home.*SWEEPBOARD_HOME"):
        find_home(tmp_path, {"SWEEPBOARD_HOME": str(tmp_path / "file" / "home")})


def test_store_and_cache_lie_in_the_home_unless_named(tmp_path):
    assert store_url(tmp_path, {}) == str(tmp_path / "store.db")
    assert store_url(tmp_path, {"SWEEPBOARD_STORE": "postgresql://h/d"}) == "postgresql://h/d"
    assert cache_dir(tmp_path, {}) == tmp_path / "cache"
    assert cache_dir(tmp_path, {"SWEEPBOARD_CACHE": str(tmp_path / "fast")}) == tmp_path / "fast"


def test_the_store_loads_none_of_the_heavy_packages(tmp_path):
    code = (
        "import sys; from pathlib import Path; from storage.home import find_home, store_url;"
        "from storage.open import open_store; import storage.files;"
        "home = find_home(Path(sys.argv[1]), {}); open_store(store_url(home, {})).close();"
        "open_before = set(sys.modules);"
        "assert not {'torch', 'timm', 'ray', 'mlflow', 'optuna', 'pytest'} & open_before"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


def test_opening_an_up_to_date_store_does_not_load_alembic(tmp_path):
    code = (
        "import sys; from storage.open import open_store; open_store(sys.argv[1]).close();"
        "sys.exit('alembic' in sys.modules)"
    )
    command = [sys.executable, "-c", code, tmp_path / "store.db"]
    assert [subprocess.run(command, check=False).returncode for _ in range(2)] == [1, 0]
