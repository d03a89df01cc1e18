"""The independent receiver, a process of its own: it writes down every delivery before it answers.

It is told what to do wrong by lines of JSON on standard input, each answered with a line `ok`:
`{"mode": "ok|refuse|hang|drop|keep|status", "status": 500, "retry_after": "1", "share": 0.5, "only": "first"}`.
`drop` closes the connection without taking the delivery, `keep` takes it and closes instead of answering. The log has
one JSON line per delivery: connector, webhook-id, type, task, seq, when (monotonic seconds), what was done with it.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

import orjson

from tests.torture.wire import Message, first_message, header

SECRET: Final = "whsec_" + base64.b64encode(bytes(range(24))).decode()
_KEY: Final = base64.b64decode(SECRET.removeprefix("whsec_"))
TAKEN: Final = ("taken", "kept")
"""What a delivery is called that counts as arrived; `kept` ones were never answered."""


def is_genuine(head: bytes, body: bytes) -> bool:
    """Return whether one of the signatures is ours: https://www.standardwebhooks.com."""
    name, moment = header(head, b"webhook-id"), header(head, b"webhook-timestamp")
    wanted = base64.b64encode(hmac.digest(_KEY, name + b"." + moment + b"." + body, hashlib.sha256))
    given = header(head, b"webhook-signature").split()
    return bool(name) and any(hmac.compare_digest(one, b"v1," + wanted) for one in given)


class Sink:
    """The listener, its log, and what it does wrong at the moment."""

    def __init__(self, log: Path, seed: int) -> None:
        self._log = log.open("ab", buffering=0)
        self._chance = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._wrong: dict[str, Any] = {"mode": "ok"}
        self.open: set[Caller] = set()
        self.port = 0

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Caller(self), "127.0.0.1", self.port, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def obey(self, wrong: dict[str, Any]) -> None:
        """Do this wrong from now on; connections that hang or wait are closed."""
        self._wrong = wrong
        for caller in list(self.open):
            caller.close()
        if wrong["mode"] == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        elif wrong["mode"] != "refuse" and self._server is None:
            await self.listen()

    async def close(self) -> None:
        """Stop listening and close everything."""
        await self.obey({"mode": "refuse"})
        self._log.close()

    def take(self, message: Message) -> bytes | None:
        """Write *message* down and return the answer: None is to hang, nothing is to close the connection."""
        connector = message.head.split(b" ", 2)[1].decode().strip("/")
        wrong = self._wrong
        meant = wrong.get("only") in {None, connector} and self._chance.random() < wrong.get("share", 1.0)
        mode = wrong["mode"] if meant else "ok"
        if not is_genuine(message.head, message.body):
            mode = "forged"
        said = {"ok": "taken", "keep": "kept"}.get(mode, mode)
        self._note(connector, message, said)
        if mode == "ok":
            return _answer(200)
        if mode == "status":
            return _answer(wrong["status"], wrong.get("retry_after"))
        return None if mode == "hang" else b""

    def _note(self, connector: str, message: Message, said: str) -> None:
        try:
            body = orjson.loads(message.body)
        except orjson.JSONDecodeError:
            body = {}
        data = body.get("data", {})
        line = {
            "connector": connector,
            "id": header(message.head, b"webhook-id").decode(),
            "type": body.get("type"),
            "task": data.get("task_id"),
            "seq": data.get("seq"),
            "at": time.monotonic(),
            "said": said,
        }
        self._log.write(orjson.dumps(line) + b"\n")


class Caller(asyncio.Protocol):
    """One connection of the hub."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sink.open.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._sink.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (message := first_message(self._buffer)) is not None and self._transport is not None:
            del self._buffer[: message.end]
            answer = self._sink.take(message)
            if answer == b"":
                self._transport.abort()
                return
            if answer is not None:
                self._transport.write(answer)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _answer(status: int, retry_after: str | None = None) -> bytes:
    more = f"Retry-After: {retry_after}\r\n" if retry_after else ""
    return f"HTTP/1.1 {status} Said\r\n{more}Content-Length: 0\r\n\r\n".encode()


async def main(log: Path, seed: int) -> None:
    """Serve until standard input ends. The first line on standard output is the port."""
    sink = Sink(log, seed)
    await sink.listen()
    sys.stdout.write(f"{sink.port}\n")
    sys.stdout.flush()
    while line := await asyncio.to_thread(sys.stdin.readline):
        await sink.obey(json.loads(line))
        sys.stdout.write("ok\n")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=str(__doc__))
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    asyncio.run(main(given.log, given.seed))
