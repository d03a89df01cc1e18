"""Ten thousand requests nobody would write: no endpoint ever answers with a fault of the hub's own."""

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ralf_hub.app import build_app
from ralf_hub.handlers.table import ENDPOINTS
from tests.api import helpers
from tests.api.conftest import HubServer
from tests.api.helpers import EVERYTHING, ONLY, Api, webhook
from tests.doubles.receiver import Receiver
from tests.support import SettableClock

EXAMPLES, REQUESTS_EACH = 200, 50
PLAIN = tuple(endpoint for endpoint in ENDPOINTS if not endpoint.raw and "/api/" in endpoint.path)
TASKS = ["T-1", "T-2", "T-3"]
ODD = [
    *(
        "",
        " ",
        "x",
        "1",
        "-1",
        "0",
        "1e9",
        "null",
        "true",
        "*",
        "%",
        "_",
        "'",
        '"',
        "\\",
        "\0",
        "\ufffd",
        "\ud800",
    ),
    *("é", "🐎", "../..", "a/b", "x" * 300, "9" * 30, "2026-02-30", "T-1,T-2"),
]

texts = st.one_of(st.sampled_from(ODD), st.text(max_size=12))
jsons = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)

SENSIBLE: dict[str, list[Any]] = {
    "title": ["Fix it"],
    "id": TASKS,
    "task_id": TASKS,
    "name": ["sink", "plain", "ci"],
    "status": ["pending", "in_progress", "blocked", "completed", "failed", "cancelled"],
    "state": ["dead", "delivered", "cancelled"],
    "priority": ["critical", "low"],
    "depends_on": [[], ["T-1"], ["T-2", "T-3"]],
    "feature_id": ["F-1", "F/2"],
    "metadata": [{}, {"a": [1]}],
    "data": [{}, {"code": "x", "connector": "sink"}],
    "agent": ["one", "two"],
    "percent": [0, 50, 100],
    "progress": [0, 50, 100],
    "lease_s": [1, 2, 3],
    "type": ["task_completed", "system_alert", "feature_delivered", "x"],
    "text": ["Hello"],
    "event": ["task_completed", "task_failed"],
    "scopes": [["tasks:read"], ["*"]],
    "dry_run": [True, False],
    "description": ["", "All of it"],
    "parent_id": [None, "T-1"],
    "assignee": [None, "one"],
    "error": [None, "no"],
    "note": [None, "yes"],
    "connector": ["sink", "none"],
    "expires_at": [None, "2099-01-01"],
    "occurred_at": [None, "2026-01-01"],
    "until": [None, "2027-01-01"],
    "since": ["2026-01-01", "9999-12-31T23:59:59Z"],
    "limit": ["1", "200"],
    "after": ["0", "3", "99999"],
}
HEADERS: dict[str, list[str]] = {
    "If-Match": ['"v1"', '"v2", W/"v3"', "*", ""],
    "If-None-Match": ['"v1"', "*"],
    "Idempotency-Key": ["k-1", "k-2", "", "x" * 300],
    "X-Request-ID": ["é", "fine"],
    "Origin": [helpers.ORIGIN, "null"],
    "X-Forwarded-For": ["127.0.0.1, x", "é"],
}
KEYS = [EVERYTHING] * 8 + [ONLY["tasks:read"], "rh_x"]
TYPES = ["application/json"] * 12 + ["text/plain", ""]

Request = tuple[str, str, bytes | None, dict[str, str]]


@dataclass(frozen=True)
class Words:
    """Odd texts and values, and the chance that mixes them with sensible ones into requests."""

    texts: list[str]
    values: list[Any]
    chance: Random

    def text(self, name: str) -> str:
        return str(
            self.chance.choice(SENSIBLE.get(name, TASKS) if self.chance.random() < 0.7 else self.texts)
        )

    def value(self, name: str) -> Any:
        sensible = name in SENSIBLE and self.chance.random() < 0.95
        return self.chance.choice(SENSIBLE[name] if sensible else self.values)

    def body(self, names: list[str]) -> bytes | None:
        kind = self.chance.random()
        if kind < 0.05:
            return self.chance.choice([None, b"{", b"\xff", b"[" * 2_000, b'{"a":' * 100 + b"1" + b"}" * 100])
        if kind < 0.1:
            return dumped(self.chance.choice(self.values))
        body = {name: self.value(name) for name in names if self.chance.random() < 0.6}
        if kind < 0.15:
            body[self.chance.choice(self.texts)] = self.chance.choice(self.values)
        return dumped(body)

    def request(self) -> Request:
        endpoint = self.chance.choice(PLAIN)
        path = endpoint.path
        for name in ("id", "name"):
            path = path.replace(
                f"{{{name}}}", coded(self.text("name" if "connectors" in path else name)) or "x"
            )
        known = list(endpoint.query.model_fields) if endpoint.query is not None else []
        names = [name for name in known if name != "wait" and self.chance.random() < 0.3]
        if self.chance.random() < 0.05:
            names.append(self.chance.choice([*known, "colour"]))
        query = "&".join(f"{name}={coded(self.text(name))}" for name in names)
        headers = {
            "Authorization": f"Bearer {self.chance.choice(KEYS)}",
            "Content-Type": self.chance.choice(TYPES),
        }
        for name in self.chance.sample(list(HEADERS), self.chance.choice([0, 0, 1, 2])):
            headers[name] = self.chance.choice(HEADERS[name])
        odd_method = self.chance.random() < 0.05
        method = (
            self.chance.choice(["GET", "HEAD", "PUT", "PATCH", "OPTIONS"]) if odd_method else endpoint.method
        )
        fields = list(endpoint.body.model_fields) if endpoint.body is not None else []
        body = self.body(fields) if endpoint.body is not None or self.chance.random() < 0.1 else None
        return method, path + (f"?{query}" if query else ""), body, headers


def dumped(value: Any) -> bytes:
    """Return *value* as the standard library writes it: numbers of any size, lone surrogates escaped."""
    return json.dumps(value).encode()


def coded(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def sending(
    api: Api, run: Callable[..., Any], clock: SettableClock, answered: dict[int, int]
) -> Callable[[], None]:
    async def one(method: str, path: str, raw: bytes | None, headers: dict[str, str]) -> None:
        try:
            reply = await api.call(method, path, key=None, raw=raw, headers=headers, content_type=None)
        except AssertionError as error:
            raise AssertionError(f"{method} {path} {raw!r} {headers}: {error}") from None
        assert reply.status < 500, (method, path, raw, headers)
        answered[reply.status] = answered.get(reply.status, 0) + 1

    async def all_of_them(requests: list[Request]) -> None:
        await asyncio.gather(*(one(*request) for request in requests))

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(texts, min_size=8, max_size=8),
        st.lists(jsons, min_size=8, max_size=8),
        st.integers(0, 2**32),
    )
    def send(odd_texts: list[str], values: list[Any], seed: int) -> None:
        clock.advance(1)
        words = Words([*odd_texts, *ODD], values, Random(seed))
        run(all_of_them([words.request() for _ in range(REQUESTS_EACH)]))

    return send


def test_no_request_is_answered_with_a_fault_of_ours(
    empty_hub: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(empty_hub, tmp_path / "hub.db")
    answered: dict[int, int] = {}
    clock = SettableClock()

    async def begin() -> tuple[Api, Receiver]:
        sink = await Receiver().start()
        connectors = {
            "sink": webhook(sink.url),
            "plain": webhook(f"{sink.url}/t", template="{{ task.title }}"),
        }
        app = build_app(helpers.settings(tmp_path / "hub.db", connectors=connectors), clock.clock)
        client = TestClient(HubServer(app))
        await client.start_server()
        return Api(client), sink

    with asyncio.Runner() as runner:
        api, sink = runner.run(begin())
        try:
            sending(api, runner.run, clock, answered)()
        finally:
            runner.run(api.client.close())
            runner.run(sink.stop())
    assert sum(answered.values()) >= EXAMPLES * REQUESTS_EACH
    seldom = {200, 201, 202, 400, 401, 403, 404, 405, 409, 412, 415, 422}
    assert seldom <= set(answered), answered
    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
