import pytest

from workers.embedded.catalogue import EMBEDDED_TASKS
from workers.embedded.tasks import SPLITS, draw_split


@pytest.fixture(scope="session")
def drawn():
    """Images and labels of every (task, split), drawn once."""
    return {(task, split): draw_split(task, split) for task in EMBEDDED_TASKS for split in SPLITS}
