"""docs/connectors.md, followed: its connector is built, installed beside the hub, and the real hub sends through it."""

import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from tests.doubles.server import Double, Fault
from tests.journeys.hub import Hub
from tests.snippets import CHECKOUT, SNIPPETS
from tests.support import eventually

URL = "http://127.0.0.1:9000"


class Wall(Double):
    """The wall display: takes a line at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/line", self._show)]

    async def _show(self, request: web.Request) -> web.Response:
        self.lines.append((await request.read()).decode())
        return web.Response()


def blocks(language: str) -> list[str]:
    return [
        found.text for found in SNIPPETS if (found.page, found.language) == ("docs/connectors.md", language)
    ]


def installed(folder: Path) -> Path:
    """Write the package as the page shows it, and install it into a folder of its own."""
    source, target = folder / "ralf-hub-wall", folder / "site"
    source.mkdir()
    (module,), (package,) = blocks("python"), blocks("toml")
    (source / "wall.py").write_text(module, encoding="utf-8")
    (source / "pyproject.toml").write_text(package, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", target, source], check=True, capture_output=True, timeout=120)
    return target


@pytest.mark.journey
async def test_a_connector_in_one_file_installed_beside_the_hub(tmp_path: Path) -> None:
    site = installed(tmp_path)
    (shown,) = blocks("text")
    async with Wall() as wall:
        wall.faults.append(Fault("/line", status=503))
        settings = f"[delivery]\nbackoff_first_s = 0.05\n\n{shown.replace(URL, wall.url)}"
        assert wall.url in settings
        async with Hub(tmp_path, settings, env={"PYTHONPATH": f"{site}:{CHECKOUT}"}) as hub:
            await hub.ok("POST", "/api/v1/tasks", {"id": "TASK-1", "title": "Tides"})
            await hub.ok("PATCH", "/api/v1/tasks/TASK-1", {"status": "completed"})
            await eventually(lambda: wall.lines == ["Task completed: Tides"])
            await eventually(lambda: hub.rows("SELECT action, state FROM outbox") == [("show", "delivered")])
            assert hub.rows("SELECT outcome FROM attempts ORDER BY id") == [("retry",), ("delivered",)]
            listed = (await hub.ok("GET", "/api/v1/connectors"))["connectors"]
            assert [(one["name"], one["type"], one["breaker"]) for one in listed] == [
                ("wall", "wall", "closed")
            ]
            dry = hub.command("send", "wall", "--event", "task_failed", "--dry-run")
            assert (dry.returncode, f"POST {wall.url}/line" in dry.stdout) == (0, True), (
                dry.stdout + dry.stderr
            )
            assert len(wall.seen) == 2
            hub.config.write_text(
                hub.config.read_text(encoding="utf-8").replace("url = ", "ulr = "), encoding="utf-8"
            )
            wrong = hub.command("check")
            assert wrong.returncode == 2
            assert "url" in wrong.stdout + wrong.stderr


@pytest.mark.journey
def test_without_the_package_the_settings_say_which_types_there_are(tmp_path: Path) -> None:
    hub = Hub(tmp_path, blocks("text")[0])
    wrong = hub.command("check")
    assert wrong.returncode == 2
    assert "webhook" in wrong.stdout + wrong.stderr
