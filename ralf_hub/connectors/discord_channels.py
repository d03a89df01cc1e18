"""Which channels a bot of Discord's sees, for errors that say what to write instead."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ralf_hub.connectors.base import Http, HttpRequest, NotSentError, UnknownAnswerError
from ralf_hub.model import Json
from ralf_hub.texts import one_line

SERVERS_MAX: Final = 5
ANSWER_BYTES_MAX: Final = 4 << 20
NAME_LENGTH_MAX: Final = 100

_TEXT_KINDS: Final = frozenset({0, 5})
"""Text and announcement channels: https://docs.discord.com/developers/resources/channel#channel-object-channel-types."""


async def channels_seen(call: Callable[[str], HttpRequest], http: Http) -> list[str]:
    """Return `#name (id)` of the text channels in the bot's servers, the first of them where there are many.

    *call* makes the request for a path. Empty where it cannot be asked.
    """
    try:
        servers = await _list(call(f"/users/@me/guilds?limit={SERVERS_MAX}"), http)
        lists = [await _list(call(f"/guilds/{server.get('id')}/channels"), http) for server in servers]
    except (NotSentError, UnknownAnswerError):
        return []
    return [
        f"#{one_line(str(channel.get('name')))[:NAME_LENGTH_MAX]} ({one_line(str(channel.get('id')))[:20]})"
        for channels in lists
        for channel in channels
        if channel.get("type") in _TEXT_KINDS
    ]


async def _list(request: HttpRequest, http: Http) -> list[dict[str, Json]]:
    answer = (await http(replace(request, response_bytes_max=ANSWER_BYTES_MAX))).json()
    return [item for item in answer if isinstance(item, dict)] if isinstance(answer, list) else []
