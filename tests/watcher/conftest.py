from pathlib import Path

import pytest

from tests.watcher.hub import make_workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an empty workspace of the modern form."""
    return make_workspace(tmp_path / "ws")
