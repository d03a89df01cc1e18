"""A hub, and a connection to it over which bytes go as they are."""

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from tests.api.conftest import api, start
from tests.api.helpers import Api

__all__ = ["api", "start"]

Connection = Callable[[bytes], Awaitable[tuple[list[int], bool]]]
"""Sends bytes; returns the statuses of the answers that came, and whether the hub then ended the connection."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
QUIET_S = 0.5
ANSWER_WITHIN_S = 10.0


@pytest.fixture
def dial(api: Api) -> Connection:
    async def dial(request: bytes) -> tuple[list[int], bool]:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.client.server.port)
        answer = b""
        ended = False
        try:
            writer.write(request)
            async with asyncio.timeout(ANSWER_WITHIN_S) as waiting:
                while not ended:
                    more = await reader.read(65_536)
                    ended = not more
                    answer += more
                    # After the first answer the hub has had its say: more would come at once.
                    waiting.reschedule(asyncio.get_running_loop().time() + QUIET_S)
        except TimeoutError:
            pass
        except ConnectionError:
            ended = True
        finally:
            writer.close()
        return [int(status) for status in _STATUS_LINE.findall(answer)], ended

    return dial
