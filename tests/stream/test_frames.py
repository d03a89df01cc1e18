"""Frames that are written past aiohttp's writer are those it would have written."""

import asyncio

import pytest
from aiohttp import WSMsgType
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_websocket import WebSocketWriter

from ralf_hub.handlers.stream import text_frame


class Sent(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += bytes(data)

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
async def test_a_frame_made_here_is_the_one_aiohttp_makes(size: int) -> None:
    message, sent = b"x" * size, Sent()
    writer = WebSocketWriter(BaseProtocol(asyncio.get_running_loop()), sent)
    await writer.send_frame(message, WSMsgType.TEXT)
    assert text_frame(message) == sent.data
