"""A hub as a black box: the real process, real sockets, the `sqlite3` of whoever looks in. Plain calls, no loop."""

import asyncio
import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from tests.cli.helpers import Place
from tests.doubles.receiver import Receiver
from tests.doubles.server import Double
from tests.journeys.hub import Hub

T = TypeVar("T")

V1: Final = "/api/v1"
TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TASK_FIELDS: Final = frozenset(
    [
        "id",
        "title",
        "description",
        "status",
        "priority",
        "type",
        "feature_id",
        "parent_id",
        "depends_on",
        "progress",
        "assignee",
        "result",
        "error",
        "metadata",
        "links",
        "source",
        "version",
        "created_at",
        "updated_at",
        "started_at",
        "completed_at",
    ]
)
WITHIN_S: Final = 15.0
_ABSENT: Final = object()


def until(condition: Callable[[], T], *, within_s: float = WITHIN_S, every_s: float = 0.01) -> T:
    """Wait until *condition* gives something true and return it."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(
                f"not true within {within_s} s: {getattr(condition, '__qualname__', condition)}"
            )
        time.sleep(every_s)
    return found


class Ground:
    """A loop in a thread of its own, on which processes and doubles are started from plain tests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def double(self, double: Double) -> Double:
        self.run(double.start())
        return double

    def receiver(self, *secrets: str) -> Receiver:
        receiver = Receiver(secrets)
        self.run(receiver.start())
        return receiver

    def close(self) -> None:
        self.run(self._let_go())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @staticmethod
    async def _let_go() -> None:
        """End what doubles still hang on."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem; empty where the answer is none."""
        is_problem = self.headers.get("content-type") == "application/problem+json"
        return str(self.json["code"]) if is_problem else ""

    @property
    def fields(self) -> set[str]:
        """The fields a problem names."""
        return {error["field"] for error in self.json.get("errors", [])}


class Box:
    """One hub, seen from outside."""

    def __init__(self, ground: Ground, hub: Hub) -> None:
        self.ground = ground
        self.hub = hub

    @classmethod
    def start(cls, ground: Ground, folder: Path, settings: str = "", **more: Any) -> Self:
        folder.mkdir(exist_ok=True)
        arguments = more.pop("arguments", ())
        box = cls(ground, Hub(folder, settings, **more))
        try:
            ground.run(box.hub.start(*arguments))
        except BaseException:
            box.close()
            raise
        return box

    @classmethod
    def prepare(cls, ground: Ground, folder: Path, yaml: str, port: int, *, env: Mapping[str, str]) -> Self:
        """Start a hub on settings of one's own, in YAML, with the first of its keys."""
        folder.mkdir()
        hub = Hub(folder, "", env=env)
        hub.port, hub.config, hub.key = port, folder / "api-config.yaml", env["RALF_API_KEY"]
        hub.config.write_text(yaml, encoding="utf-8")
        box = cls(ground, hub)
        try:
            ground.run(hub.start())
        except BaseException:
            box.close()
            raise
        return box

    def again(self, *arguments: str) -> None:
        """Start the process once more on what is there."""
        self.ground.run(self.hub.start(*arguments))

    def stop(self) -> int:
        return self.ground.run(self.hub.stop())

    def close(self) -> None:
        self.ground.run(self.hub.__aexit__(None, None, None))

    # --- HTTP -------------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        path: str,
        body: Any = _ABSENT,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        content_type: str | None = "application/json",
    ) -> Reply:
        """Send one request on a connection of its own. `key` empty: the hub's own first key; None: none."""
        sent = {"Host": f"127.0.0.1:{self.hub.port}"}
        data = raw if body is _ABSENT else json.dumps(body).encode()
        if data is not None and content_type is not None:
            sent["Content-Type"] = content_type
        if key is not None:
            sent["Authorization"] = f"Bearer {key or self.hub.key}"
        connection = http.client.HTTPConnection("127.0.0.1", self.hub.port, timeout=70)
        try:
            connection.request(method, path, body=data, headers={**sent, **(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Reply:
        return self.call("GET", V1 + path, **more)

    def post(self, path: str, body: Any = _ABSENT, **more: Any) -> Reply:
        return self.call("POST", V1 + path, body, **more)

    def patch(self, path: str, body: Any = _ABSENT, **more: Any) -> Reply:
        return self.call("PATCH", V1 + path, body, **more)

    def put(self, path: str, body: Any = _ABSENT, **more: Any) -> Reply:
        return self.call("PUT", V1 + path, body, **more)

    def delete(self, path: str, **more: Any) -> Reply:
        return self.call("DELETE", V1 + path, **more)

    def task(self, title: str = "Polish the lens", **fields: Any) -> dict[str, Any]:
        reply = self.post("/tasks", {"title": title, **fields})
        assert reply.status == 201, reply.body
        return dict(reply.json)

    def key(self, *scopes: str) -> str:
        """Make a key over the API and return it."""
        reply = self.post("/keys", {"name": "-".join(scopes) or "none", "scopes": list(scopes)})
        assert reply.status == 201, reply.body
        return str(reply.json["key"])

    def events(self, query: str = "") -> list[dict[str, Any]]:
        """Return all events, oldest first."""
        found: list[dict[str, Any]] = []
        after = 0
        while True:
            page = self.get(f"/events?limit=200&after={after}{query}").json
            found += page["events"]
            if page["next_cursor"] is None:
                return found
            after = found[-1]["seq"]

    # --- the file and the command line ------------------------------------------------------------

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        conn = sqlite3.connect(self.hub.db, isolation_level=None, timeout=10)
        try:
            return conn.execute(sql, values).fetchall()
        finally:
            conn.close()

    def value(self, sql: str, *values: object) -> Any:
        return self.rows(sql, *values)[0][0]

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.hub.command(*arguments)


def run(folder: Path, *arguments: object, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run `ralf-hub` in *folder*, which is also its home, with *env* and nothing of the hub's own in the environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RALF_", "SLACK_", "GITHUB_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "ralf_hub", *map(str, arguments)],
        cwd=folder,
        env={**kept, "HOME": str(folder), "COLUMNS": "100", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def quick(folder: Path, *arguments: object, **env: str) -> "subprocess.CompletedProcess[str]":
    """Do what `run` does in this process: the same code on the same files without a start of Python."""
    done = Place(folder, env).invoke(*arguments)
    return subprocess.CompletedProcess([], done.code, done.out, done.err)
