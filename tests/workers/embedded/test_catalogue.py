import subprocess
import sys

from workers.embedded.catalogue import EMBEDDED, EMBEDDED_TASKS


def test_the_catalogue_loads_without_torch_and_timm():
    script = (
        "import sys, workers.embedded.catalogue\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'timm', 'numpy', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_task_has_the_sizes_of_the_vtab_protocol():
    for task in EMBEDDED_TASKS.values():
        assert (task.train, task.val, task.test) == (800, 200, 1000)


def test_a_name_in_the_catalogue_is_the_name_in_the_record():
    for catalogue in (EMBEDDED, EMBEDDED_TASKS):
        assert all(name == record.name for name, record in catalogue.items())
