"""A service calls: a signed GitHub push of 20 KB, answered 202 once its receipt and its event are on disk."""

import hashlib
import hmac
import json
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from benchmarks.api import WARM_UP_S, side
from benchmarks.load import request
from benchmarks.report import Row, Side, compared
from benchmarks.setting import Bench, Server

SECONDS: Final = 2.0
CLIENTS: Final = (1, 32)
BODY_BYTES: Final = 20_000
SECRET: Final = "typed-at-github-and-here"  # noqa: S105 - signs what this file makes up
SETTINGS: Final = f'[[webhooks.incoming]]\nservice = "github"\nsecret = "{SECRET}"\n'
PATH: Final = "/api/v1/webhooks/github"


def push() -> bytes:
    """Return a push as GitHub sends it, with as many commits as make it 20 KB."""
    repository = {"id": 1296269, "full_name": "acme/mill", "html_url": "https://github.com/acme/mill"}
    body = {
        "ref": "refs/heads/main",
        "repository": repository,
        "sender": {"login": "octocat", "id": 583231},
        "commits": [],
    }
    commits: list[dict[str, object]] = body["commits"]  # type: ignore[assignment]
    while len(json.dumps(body)) < BODY_BYTES:
        n = len(commits)
        commits.append(
            {
                "id": hashlib.sha1(str(n).encode(), usedforsecurity=False).hexdigest(),
                "message": f"Turn wheel {n} the other way\n\nIt went against the water.",
                "timestamp": "2026-02-01T16:01:00Z",
                "url": f"https://github.com/acme/mill/commit/{n}",
                "author": {"name": "Monalisa Octocat", "email": "mona@example.com"},
                "added": [],
                "removed": [],
                "modified": [f"wheels/{n}.py", f"tests/test_{n}.py"],
            }
        )
    return json.dumps(body).encode()


def calls() -> Callable[[int], bytes]:
    """Return what makes the n-th call; no two carry the same delivery id."""
    body = push()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    made = request(
        "POST",
        PATH,
        body,
        headers={
            "X-Hub-Signature-256": f"sha256={signature}",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": "@" * 36,
        },
    )
    before, after = made.split(b"@" * 36)
    count = 0

    def make(_: int) -> bytes:
        nonlocal count
        count += 1
        return b"%b%036d%b" % (before, count, after)

    return make


async def run(bench: Bench) -> list[Row]:
    """Call the hub and bare aiohttp, which reads as much and answers the same bytes, in turns."""
    rows: list[Row] = []
    make = calls()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hub = await stack.enter_async_context(bench.hub(folder, SETTINGS))
        bare = await stack.enter_async_context(
            bench.bare(folder, 202, b'{"id":"rcp_0","status":"accepted","event_id":"evt_0","task_id":null}')
        )
        accepted = 0
        for clients in CLIENTS:
            ours: list[Side] = []
            ceiling: list[Side] = []
            for number in range(bench.runs + 1):
                seconds = bench.seconds(SECONDS if number else WARM_UP_S)
                for server, into in ((bare, ceiling), (Server(hub.port, hub.pid), ours)):
                    found, result = await side(server, make, 202, clients=clients, seconds=seconds)
                    accepted += len(result.latencies) if into is ours else 0
                    if number:
                        into.append(found)
            name = f"signed webhook of 20 KB, durable, {clients} client{'s' if clients > 1 else ''}"
            rows.append(compared(name, ours, ceiling, unit="req/s"))
        kept = hub.value("SELECT count(*) FROM webhook_receipts")
        assert kept == accepted, f"{kept} receipts of {accepted} answered calls"
    return rows
