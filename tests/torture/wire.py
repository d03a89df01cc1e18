"""HTTP/1.1 by hand, both ways: a client and a server must cost little to torture a hub on two cores."""

import asyncio
from typing import Final, NamedTuple

ANSWER_WITHIN_S: Final = 30.0


class Answer(NamedTuple):
    """What was answered."""

    status: int
    content_type: str
    body: bytes


class Message(NamedTuple):
    """The first message in a buffer: its head, its body, and where the next one begins."""

    head: bytes
    body: bytes
    end: int


def first_message(buffer: bytes | bytearray) -> Message | None:
    """Return the first whole message of *buffer*, None where there is none yet."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[:end])
    length = int(header(head, b"content-length") or 0)
    begin = end + 4
    if len(buffer) < begin + length:
        return None
    return Message(head, bytes(buffer[begin : begin + length]), begin + length)


def header(head: bytes, name: bytes) -> bytes:
    """Return a header's value; empty where it is absent."""
    at = head.lower().find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    return head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip()


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return a request as bytes; `_` in the names of headers is `-`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection(asyncio.Protocol):
    """A keep-alive connection with one request on its way at a time."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to a port of this machine. OSError where nobody listens."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    async def ask(self, data: bytes) -> Answer:
        """Send one request. OSError or TimeoutError where no answer comes: nobody knows what became of it."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        message = first_message(self._buffer)
        if message is None or self._answer is None or self._answer.done():
            return
        del self._buffer[: message.end]
        content_type = header(message.head, b"content-type").decode()
        self._answer.set_result(Answer(int(message.head[9:12]), content_type, message.body))

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()
