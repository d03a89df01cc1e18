"""Fixtures of the contract's tests. Most tests share one hub and leave each other room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.box import Box, Ground

SETTINGS = """\
[delivery]
backoff_first_s = 0.1
backoff_max_s = 0.5
breaker_probe_first_s = 0.2
breaker_probe_max_s = 0.5
"""


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    made = Ground()
    yield made
    made.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("box")


@pytest.fixture(scope="session")
def box(ground: Ground, folder: Path) -> Iterator[Box]:
    """A hub without connectors and without limits."""
    made = Box.start(ground, folder, SETTINGS)
    yield made
    made.close()
