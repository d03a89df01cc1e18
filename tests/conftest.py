"""Fixtures of several rooms: a real database file, a clock set by hand."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

import hypothesis
import pytest

from ralf_hub.store import schema
from ralf_hub.store.database import Database
from tests.support import SettableClock, connect, copy_of

# Started in the background of a shell, this process ignores Ctrl-C, and so would every program the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long one example takes says more of the machine than of the code.
hypothesis.settings.register_profile("ralf-hub", deadline=None)
hypothesis.settings.load_profile("ralf-hub")


@pytest.fixture(scope="session")
def empty_hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database made by the migrations, to copy from."""
    path = tmp_path_factory.mktemp("template") / "hub.db"
    schema.prepare(path)
    return path


@pytest.fixture
def db_path(empty_hub: Path, tmp_path: Path) -> Path:
    return copy_of(empty_hub, tmp_path)


@pytest.fixture
async def db(db_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(db_path)
    yield database
    await database.close()


@pytest.fixture
def conn(db_path: Path) -> Iterator[Connection]:
    """A writing connection to a fresh database, for SQL that is tested without a loop."""
    with closing(connect(db_path)) as opened:
        yield opened


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()
