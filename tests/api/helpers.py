"""One hub behind a real socket, and what every single answer of it must be like."""

import asyncio
import io
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from aiohttp.test_utils import TestClient
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ralf_hub.config import Loaded
from ralf_hub.config.load import load_tree
from ralf_hub.config.sources import at
from ralf_hub.endpoint import Endpoint
from ralf_hub.errors import PROBLEMS
from ralf_hub.middleware import PROBLEM_TYPE, SECURITY_HEADERS
from ralf_hub.model import SCOPES
from ralf_hub.services import SERVICES, Services
from tests.support import eventually

V1: Final = "/api/v1"
EVERYTHING: Final = "rh_everything_0123456789abcdef"
ONLY: Final = {scope: f"rh_only_{scope.replace(':', '_')}_0123456789" for scope in SCOPES}
"""For each scope a key that has it and no other."""
OTHER: Final = "rh_someone_else_0123456789abcdef"
ORIGIN: Final = "https://dashboard.example.org"

CANARY: Final = "canary-secret-0123456789"
NEVER_SHOWN: Final = tuple(
    text.encode()
    for text in (
        *(EVERYTHING, OTHER, *ONLY.values(), CANARY),
        *("Traceback", 'File \\"', ".py", "Error:", "Exception"),
        *("sqlite", "SQLITE", "SELECT ", "INSERT ", "UPDATE ", "constraint"),
        *("pytest-of-", "hub.db", "/work/", "site-packages"),
    )
)
"""Secrets, code, SQL and paths: no error answer of any test may hold one."""

TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_PLACES: Final = {"id": "1", "name": "sink", "service": "github"}
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem."""
        return str(self.json["code"])

    @property
    def fields(self) -> list[str]:
        """The fields a problem names."""
        return [error["field"] for error in self.json.get("errors", [])]

    @property
    def etag(self) -> str:
        return self.headers["ETag"]


def check(reply: Reply, method: str = "GET", path: str = V1) -> Reply:
    """Hold *reply* to what is promised of every answer."""
    is_page = not path.startswith((V1, "/health"))
    assert _REQUEST_ID.fullmatch(reply.headers["X-Request-ID"])
    for name, value in SECURITY_HEADERS.items():
        assert reply.headers[name] == value or (is_page and reply.headers[name]), name
    kind = reply.headers.get("Content-Type")
    if reply.status < 400 or (reply.status == 503 and kind == "application/json"):  # the latter: /health
        assert not reply.body or kind == "application/json" or is_page
        return reply
    assert kind == "application/problem+json"
    if method == "HEAD":
        assert reply.body == b""
        return reply
    assert not [text for text in NEVER_SHOWN if text in reply.body]
    document = reply.json
    row = PROBLEMS[document["code"]]
    assert (document["status"], document["title"]) == (reply.status, row.title)
    assert row.status == reply.status
    assert document["type"] == PROBLEM_TYPE + document["code"]
    assert document["request_id"] == reply.headers["X-Request-ID"]
    assert isinstance(document["detail"], str)
    for error in document.get("errors", []):
        assert set(error) == {"field", "message"}
        assert error["field"]
        assert error["message"]
    if reply.status == 429:
        assert int(reply.headers["Retry-After"]) >= 1
        assert "RateLimit" in reply.headers
        assert "RateLimit-Policy" in reply.headers
    return reply


class Api:
    """A client of one hub. Every answer is checked for what all answers share."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client
        self.hub: Services = client.app[SERVICES]

    async def call(
        self,
        method: str,
        path: str,
        body: Any = _ABSENT,
        *,
        key: str | None = EVERYTHING,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        content_type: str | None = "application/json",
    ) -> Reply:
        """Send one request. *body* goes as JSON, *raw* as it is; *path* is sent exactly as written."""
        sent = CIMultiDict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key}")
        data = raw if body is _ABSENT else orjson.dumps(body)
        if data is not None and len(data) >= 2**20:
            data = io.BytesIO(data)
        if data is not None and content_type is not None:
            sent.setdefault("Content-Type", content_type)
        skipped = ["Content-Type"] if content_type is None else []
        url = self.client.server.make_url("/").join(URL(path, encoded=True))
        async with self.client.session.request(
            method, url, data=data, headers=sent, skip_auto_headers=skipped, allow_redirects=False
        ) as answer:
            return check(Reply(answer.status, answer.headers, await answer.read()), method, path)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.call("GET", V1 + path, **more)

    async def post(self, path: str, body: Any = _ABSENT, **more: Any) -> Reply:
        return await self.call("POST", V1 + path, body, **more)

    async def put(self, path: str, body: Any = _ABSENT, **more: Any) -> Reply:
        return await self.call("PUT", V1 + path, body, **more)

    async def patch(self, path: str, body: Any = _ABSENT, **more: Any) -> Reply:
        return await self.call("PATCH", V1 + path, body, **more)

    async def delete(self, path: str, **more: Any) -> Reply:
        return await self.call("DELETE", V1 + path, **more)

    async def task(self, title: str = "Fix the login", **fields: Any) -> dict[str, Any]:
        """Create a task and return it."""
        reply = await self.post("/tasks", {"title": title, **fields})
        assert reply.status == 201, reply.body
        return dict(reply.json)

    async def listed(self, path: str, noun: str, *, limit: int = 3) -> list[dict[str, Any]]:
        """Follow the cursors of a list from its first page to its last."""
        items: list[dict[str, Any]] = []
        mark, cursor = "&" if "?" in path else "?", ""
        while True:
            page = (await self.get(f"{path}{mark}limit={limit}{cursor}")).json
            assert len(page[noun]) <= limit
            items += page[noun]
            if page["next_cursor"] is None:
                return items
            cursor = f"&cursor={page['next_cursor']}"

    async def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Return all events after *after*."""
        return await self.listed(f"/events?after={after}", "events", limit=200)

    async def raw(self, request: bytes) -> Reply:
        """Send bytes as they are on a connection of their own and return the first answer."""
        port = self.client.server.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            await writer.drain()
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                status, _, lines = head.decode("latin-1").partition("\r\n")
                headers = CIMultiDict(line.split(": ", 1) for line in lines.split("\r\n") if line)
                body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        finally:
            writer.close()
        return Reply(int(status.split()[1]), CIMultiDictProxy(headers), body)

    async def leave(self, request: bytes) -> None:
        """Send bytes and hang up without reading, once the hub works on them."""
        before = len(asyncio.all_tasks())
        _, writer = await asyncio.open_connection("127.0.0.1", self.client.server.port)
        writer.write(request)
        # One task of aiohttp's for the connection, one for the handler.
        await eventually(lambda: len(asyncio.all_tasks()) >= before + 2)
        writer.close()
        await writer.wait_closed()


def settings(db: Path, **sections: Any) -> Loaded:
    """Return settings with the test keys and no limit that a test would meet by accident; *sections* win."""
    tree: dict[str, Any] = {
        "api": {
            "api_keys": [
                {"name": "everything", "key": EVERYTHING, "scopes": ["*"]},
                {"name": "other", "key": OTHER, "scopes": ["*"]},
                *(
                    {"name": f"only-{scope.replace(':', '-')}", "key": key, "scopes": [scope]}
                    for scope, key in ONLY.items()
                ),
            ],
            "rate_limit": {"requests_per_minute": 10_000_000, "failed_auth_per_minute": 1_000_000},
            "cors": {"origins": [ORIGIN]},
        },
        "database": {"path": str(db)},
        "security": {"allowed_networks": ["127.0.0.0/8"]},
    }
    return load_tree(at(db.with_name("ralf-hub.toml")), _merged(tree, sections), {})


def _merged(tree: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = deepcopy(tree)
    for name, value in over.items():
        known = merged.get(name)
        merged[name] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def path_of(endpoint: Endpoint) -> str:
    """Return a path of *endpoint* with something in every place."""
    return re.sub(r"\{(\w+)[^}]*\}", lambda place: _PLACES.get(place[1], "x"), endpoint.path)


def webhook(url: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a connector that posts to *url*."""
    return {"type": "webhook", "url": url, "events": ["*"], **more}


def fresh_session() -> aiohttp.ClientSession:
    """Return a session with a connection of its own."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
