"""What the hub leaves on the disk is its owner's alone, whatever the umask."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.helpers import WITHIN_S, Place, running
from tests.journeys.hub import free_port
from tests.support import eventually


@pytest.fixture
def open_handed() -> Iterator[None]:
    """Programs started now give everybody every right to what they make, unless they say otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir() if path.is_file()}


@pytest.mark.journey
@pytest.mark.usefixtures("open_handed")
async def test_only_the_owner_can_read_what_the_hub_writes(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run("init")
    place.config.write_text(
        place.config.read_text(encoding="utf-8").replace("var/ralf-hub.db", "hub.db"), "utf-8"
    )
    with running(place.spawn("serve", "--port", str(free_port()))) as process:
        await eventually((tmp_path / "hub.db-wal").exists, within_s=WITHIN_S)
        assert process.stdout is not None
        process.stdout.readline()  # the greeting: it serves
        assert place.run("backup", "copy.db").code == 0
        beside = modes(tmp_path)
        process.terminate()
        process.wait(WITHIN_S)
    assert {"hub.db", "hub.db-wal", "hub.db-shm", "hub.db.lock", "copy.db", "ralf-hub.toml"} <= set(beside)
    assert place.run("restore", "copy.db").code == 0
    after = modes(tmp_path)
    assert any("before-restore" in name for name in after)
    assert set(beside.values()) | set(after.values()) == {"0o600"}, (beside, after)
