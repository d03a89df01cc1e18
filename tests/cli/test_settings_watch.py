"""Settings read again while the hub runs: what happens when taking them fails half-way. The rest is in the journeys."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ralf_hub import app as wiring
from ralf_hub.app import running
from ralf_hub.cli.serving import Launch, SettingsWatch
from ralf_hub.clock import Clock
from ralf_hub.config import Loaded, load
from ralf_hub.secrets import Redactor
from ralf_hub.services import Services
from ralf_hub.systemd import ServiceManager
from tests.support import eventually


def write(path: Path, days: int) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(f'[database]\npath = "hub.db"\n[retention]\nevents_days = {days}\n', encoding="utf-8")
    fresh.replace(path)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[tuple[Services, SettingsWatch, Path]]:
    config = tmp_path / "ralf-hub.toml"
    write(config, 30)
    async with running(load(config, {}), Clock()) as hub:
        launch = Launch({}, {}, lambda _line: None, Redactor())
        watch = SettingsWatch(hub, launch, ServiceManager({}, 1, Clock()))
        watching = asyncio.create_task(watch.run())
        yield hub, watch, config
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def test_settings_that_the_hub_fails_over_are_told_and_tried_again(
    watched: tuple[Services, SettingsWatch, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub, watch, config = watched
    before = hub.loaded
    apply = wiring.apply

    async def fails(hub: Services, loaded: Loaded) -> None:
        await apply(hub, loaded)
        raise ZeroDivisionError

    monkeypatch.setattr(wiring, "apply", fails)
    write(config, 31)
    await eventually(lambda: hub.settings_problem)
    assert hub.settings_problem is not None
    assert "its log says where" in hub.settings_problem
    assert "ZeroDivisionError" in caplog.text
    assert hub.loaded is before
    monkeypatch.setattr(wiring, "apply", apply)
    watch.ask()
    await eventually(lambda: hub.settings_problem is None)
    assert hub.settings.retention.events_days == 31
    write(config, 32)
    await eventually(lambda: hub.settings.retention.events_days == 32)


async def test_asking_without_a_change_changes_nothing(
    watched: tuple[Services, SettingsWatch, Path], caplog: pytest.LogCaptureFixture
) -> None:
    hub, watch, config = watched
    before = hub.loaded
    config.write_text("[retention]\nevents_days = 0\n", encoding="utf-8")
    await eventually(lambda: hub.settings_problem)
    write(config, 30)
    await eventually(lambda: hub.settings_problem is None)
    watch.ask()
    await eventually(lambda: not watch._asked.is_set())
    assert hub.loaded is before
    assert "are in force" not in caplog.text
