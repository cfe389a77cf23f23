"""Heavy packages load where they are used, and nowhere else; checked in fresh processes."""

import json
import subprocess
import sys
import textwrap

import pytest

from orchestrator.commands import COMMANDS

HEAVY = ("torch", "timm", "torchvision", "ray", "mlflow", "sklearn", "optuna", "matplotlib")
TORCH_FREE = (
    "orchestrator.cli",
    *(f"orchestrator.commands.{name}" for name in COMMANDS),
    "orchestrator.loop",
    "orchestrator.plan",
    "orchestrator.tuning.tuner",
    "methods.api",
    "methods.registry",
    "workers.backbone_facts",
    "workers.data.catalogue",
    "workers.embedded.catalogue",
    "workers.pools.inline",
    "storage.open",
)


def modules_loaded_by(statement: str) -> set[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


def test_importing_the_light_modules_loads_nothing_heavy():
    loaded = modules_loaded_by("\n".join(f"import {name}" for name in TORCH_FREE))
    assert not loaded.intersection(HEAVY)


def test_records_load_only_the_standard_library():
    loaded = modules_loaded_by("import storage.records")
    roots = {name.partition(".")[0] for name in loaded}
    assert not roots.intersection({*HEAVY, "numpy", "sqlalchemy", "pydantic", "yaml", "rich"})


def test_importing_a_package_does_nothing_by_itself():
    loaded = modules_loaded_by("import orchestrator, workers, methods, storage")
    ours = {name for name in loaded if name.partition(".")[0] in {"orchestrator", "workers", "methods", "storage"}}
    assert ours == {"orchestrator", "workers", "methods", "storage"}


BASE_ONLY = textwrap.dedent(
    """
    import importlib.abc, sys

    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {absent!r}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

    sys.meta_path.insert(0, Absent())
    from orchestrator.cli import main
    sys.exit(main(sys.argv[1:]))
    """
).format(absent=set(HEAVY) | {"safetensors", "PIL", "scipy", "psutil"})


@pytest.mark.parametrize(
    "words",
    [["plan", "orchestrator/examples/demo.yaml"], ["status"], ["methods"], ["backbones"], ["data", "list"], ["doctor"]],
)
def test_a_base_only_environment_answers(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BASE_ONLY, *words, "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(("example", "extra"), [("quick", "train"), ("tune", "tune")])
def test_a_base_only_environment_says_what_running_needs(example, extra, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BASE_ONLY, "run", f"orchestrator/examples/{example}.yaml", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert f"sweepboard[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr
