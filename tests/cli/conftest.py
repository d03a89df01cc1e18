import shutil
from pathlib import Path

import pytest

from tests.cli.helpers import SETTINGS, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A folder with settings and no database yet."""
    return _place(tmp_path)


def _place(folder: Path) -> Place:
    found = Place(folder)
    found.config.write_text(SETTINGS, encoding="utf-8")
    found.config.chmod(0o600)
    return found


@pytest.fixture(scope="session")
def one_day(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = _place(tmp_path_factory.mktemp("day"))
    for task in ("T-1", "T-2", "T-3"):
        made.ok("emit", "task_completed", "--task", task, "--data", f'{{"title": "Title of {task}"}}')
    return made


@pytest.fixture
def day(place: Place, one_day: Place) -> Place:
    """A place after three events: deliveries 1 to 6, console and shop by turns."""
    shutil.copy(one_day.db, place.db)
    return place
