"""Discord: application commands and buttons (https://docs.discord.com/developers/interactions/receiving-and-responding)."""

import re
from typing import Final

from ralf_hub.model import Json
from ralf_hub.texts import fit, plain
from ralf_hub.verdicts import Signed
from ralf_hub.webhooks.received import (
    Command,
    Received,
    Reply,
    dedup,
    fact,
    read_json,
    text_at,
    unreadable,
)

_PING, _COMMAND, _COMPONENT = 1, 2, 3
_ANSWER, _ONLY_FOR_THEM = 4, 64
_MARKUP: Final = re.compile(r"([\\*_~`|>#\[\]()<@-])")
OPTIONS_MAX: Final = 25
CONTENT_LENGTH_MAX: Final = 2_000


def read(request: Signed) -> Received:
    """Return what Discord says: a PING, a command, or a button of ours (`ralf:VERB:ARGUMENT`)."""
    payload = read_json(request)
    key, kind = dedup(text_at(payload, "id"), request), payload.get("type")
    if kind == _PING:
        return Received(key, "ping", payload, handshake=Reply({"type": _PING}))
    user_id = text_at(payload, "member.user.id") or text_at(payload, "user.id")
    by = text_at(payload, "member.user.username") or text_at(payload, "user.username") or user_id
    facts: dict[str, Json] = {"by": fact(by), "channel": fact(text_at(payload, "channel.name"))}
    if kind == _COMMAND:
        text = " ".join(_typed(payload.get("data"))[:OPTIONS_MAX])
        return Received(key, "command", payload, facts, command=Command(text, fact(by), user_id))
    if kind == _COMPONENT:
        ours, _, rest = text_at(payload, "data.custom_id").partition(":")
        text = rest.replace(":", " ", 1) if ours == "ralf" else "help"
        return Received(key, "component", payload, facts, command=Command(text, fact(by), user_id))
    raise unreadable("This type of interaction is not understood.", "type")


def answer(text: str, received: Received) -> Reply:
    """Return the answer to a command, seen by who gave it; nothing in it can mention anybody."""
    del received
    data = {
        "content": fit(text, CONTENT_LENGTH_MAX, escape),
        "flags": _ONLY_FOR_THEM,
        "allowed_mentions": {"parse": []},
    }
    return Reply({"type": _ANSWER, "data": data})


def escape(text: str) -> str:
    """Return *text* as Discord shows it unchanged."""
    return _MARKUP.sub(r"\\\1", text)


def _typed(data: Json) -> list[str]:
    """Return a command's words: the names of subcommands, the values of their options."""
    options = data.get("options") if isinstance(data, dict) else None
    found: list[str] = []
    for option in (options if isinstance(options, list) else [])[:OPTIONS_MAX]:
        if not isinstance(option, dict):
            continue
        if "value" in option:
            found.append(plain(option["value"]))
        else:
            found.append(plain(option.get("name")))
            found += _typed(option)
    return [word for word in found if word]
