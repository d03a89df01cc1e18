from pathlib import Path

import pytest

from ralf_hub.connectors import registry
from ralf_hub.connectors.registry import BUILT_IN, connector_class, known_types

CONNECTOR = """
from ralf_hub.connectors.base import Action, Connector, Delivered

class Beeper(Connector):
    service = "beeper"

    def plan(self, fact):
        return [Action("beep", {"title": fact.event.type})]

    async def send(self, delivery, context):
        return Delivered()
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with two entry points, as pip would."""
    (tmp_path / "beeper_connector.py").write_text(CONNECTOR)
    info = tmp_path / "beeper_connector-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: beeper-connector\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{registry.ENTRY_POINT_GROUP}]\nbeeper = beeper_connector:Beeper\nbroken = pathlib:Path\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_connector_can_be_loaded(name: str) -> None:
    assert connector_class(name).service == name


@pytest.mark.usefixtures("installed")
def test_an_installed_connector_is_found_by_its_entry_point() -> None:
    assert {"beeper", *BUILT_IN} <= set(known_types())
    made = connector_class("beeper")
    assert made.service == "beeper"
    assert not made.tells_people


@pytest.mark.usefixtures("installed")
def test_an_entry_point_that_is_no_connector_is_refused() -> None:
    with pytest.raises(TypeError, match="not a subclass"):
        connector_class("broken")


def test_an_unknown_type_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        connector_class("no-such-connector")
