"""The load: REST clients, services with signed webhooks, RALF's scripts that append to events.yaml.

Clients behave as good ones do: where no answer came they ask again, with the same Idempotency-Key or the same delivery
id, until one comes. What was answered with a 2xx goes into the ledger; what was not may or may not have happened.
"""

import asyncio
import hashlib
import hmac
import itertools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Final

from tests.torture.ledger import Ledger, Promise
from tests.torture.wire import Answer, Connection, request

WEBHOOK_SECRET: Final = "torture-webhook-secret-0123456789"
AGAIN_AFTER_S: Final = 0.2
RECORDS_PER_APPEND: Final = 10
NUMBERS_PER_LOAD: Final = 1_000_000
"""What is made has a number that no other load of the same hub gives."""

APPEND: Final = """
set -eu
for id in "${@:2}"; do
  exec 200>"$(dirname "$1")/.events.lock"
  flock -w 20 200
  cat >> "$1" <<RECORD
- timestamp: '2026-11-23T08:00:00Z'
  task_id: $id
  type: completed
  agent: executor
  result: success
RECORD
  exec 200>&-
done
"""
"""How RALF's hooks append: a lock on `.events.lock`, then `cat >>` with a heredoc."""


class Load:
    """All callers of one hub in its round *number*."""

    def __init__(self, port: int, key: str, ledger: Ledger, chance: Random, *, number: int) -> None:
        self._port = port
        self._key = key
        self._ledger = ledger
        self._chance = chance
        self._numbers = itertools.count(number * NUMBERS_PER_LOAD)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, clients: int, events: Path) -> None:
        """Begin: so many clients, one in four a service with webhooks, and one script beside them."""
        for number in range(clients):
            life = self._webhooks if number % 4 == 3 else self._lives
            self._tasks.append(asyncio.create_task(self._client(life)))
        self._tasks.append(asyncio.create_task(self._scripts(events)))

    async def stop(self) -> None:
        """End when all have an answer to what they asked last."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def _new(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers)}"

    # --- clients ----------------------------------------------------------------------------------

    async def _client(self, life: Callable[["Caller"], Awaitable[None]]) -> None:
        caller = Caller(self._port, self._ledger)
        try:
            while not self._stopping:
                await life(caller)
        finally:
            caller.close()

    async def _lives(self, caller: "Caller") -> None:
        """One task from its creation to its end."""
        task = self._new("T")
        title = json.dumps(
            {"id": task, "title": f"Task {task}", "description": "x" * self._chance.randint(0, 400)}
        )
        if not await caller.insist(self._call("POST", "/api/v1/tasks", title, Idempotency_Key=task)):
            return
        self._ledger.note(Promise("task_created", task))
        for step in range(self._chance.randint(0, 2)):
            note = f"{task}/{step}"
            body = json.dumps({"percent": 10 * step, "note": note})
            if await caller.insist(
                self._call("POST", f"/api/v1/tasks/{task}/progress", body, Idempotency_Key=note)
            ):
                self._ledger.note(Promise("task_progress", note))
        status = self._chance.choice(["completed", "completed", "failed"])
        # Without an Idempotency-Key: asked again it changes nothing and is answered all the same.
        if await caller.insist(self._call("PATCH", f"/api/v1/tasks/{task}", json.dumps({"status": status}))):
            self._ledger.note(Promise(f"task_{status}", task))

    async def _webhooks(self, caller: "Caller") -> None:
        """One delivery of GitHub, as often as it takes, and now and then once more."""
        name = self._new("G")
        payload = {
            "action": "opened",
            "issue": {"number": next(self._numbers), "title": name, "body": "y" * 300, "state": "open"},
            "repository": {"full_name": "acme/mill"},
            "sender": {"login": "kai"},
        }
        body = json.dumps(payload).encode()
        data = request(
            "POST",
            "/api/v1/webhooks/github",
            body,
            Content_Type="application/json",
            X_GitHub_Event="issues",
            X_GitHub_Delivery=name,
            X_Hub_Signature_256="sha256="
            + hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest(),
        )
        first = await caller.insist(data)
        if first is None:
            return
        said = json.loads(first.body)
        self._ledger.note(Promise("webhook_received", said["event_id"]))
        self._ledger.note(Promise("task_created", said["task_id"]))
        if self._chance.random() < 0.1:
            again = await caller.insist(data)
            if again is not None and json.loads(again.body)["event_id"] != said["event_id"]:
                self._ledger.answers.odd.append(f"webhook {name} acted twice")

    def _call(self, method: str, path: str, body: str, **headers: str) -> bytes:
        return request(
            method,
            path,
            body.encode(),
            Content_Type="application/json",
            Authorization=f"Bearer {self._key}",
            **headers,
        )

    # --- RALF's scripts ---------------------------------------------------------------------------

    async def _scripts(self, events: Path) -> None:
        """Append records while the hub lives, stands still or is dead; each is a promise once it is in the file."""
        while not self._stopping:
            names = [self._new("W") for _ in range(RECORDS_PER_APPEND)]
            script = await asyncio.create_subprocess_exec("bash", "-c", APPEND, "append", str(events), *names)
            if await script.wait() != 0:
                raise AssertionError("the records could not be appended")
            for name in names:
                self._ledger.note(Promise("task_completed", name))
            await asyncio.sleep(self._chance.uniform(0.1, 0.4))


class Caller:
    """One client with one connection, patient with a hub that comes and goes."""

    def __init__(self, port: int, ledger: Ledger) -> None:
        self._port = port
        self._answers = ledger.answers
        self._connection: Connection | None = None

    async def insist(self, data: bytes) -> Answer | None:
        """Ask until there is a final answer; return it where it is a 2xx, None where it is not."""
        while True:
            try:
                if self._connection is None:
                    self._connection = await Connection.open(self._port)
                answer = await self._connection.ask(data)
            except (OSError, TimeoutError):
                self._answers.unanswered += 1
                self.close()
                await asyncio.sleep(AGAIN_AFTER_S)
                continue
            self._answers.statuses[answer.status] += 1
            if answer.status < 300:
                return answer
            if answer.status != 503 or answer.content_type != "application/problem+json":
                self._answers.odd.append(f"{answer.status} {answer.content_type} {answer.body[:300]!r}")
                return None
            await asyncio.sleep(AGAIN_AFTER_S)  # it could not be made durable: nothing happened, so once more

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
