"""Holds what is sent to Slack to its own library: Slack publishes no description of its API any more."""

import json
from inspect import signature
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block
from slack_sdk.web.async_client import AsyncWebClient

from tests.doubles.server import Seen

UNDOCUMENTED = frozenset({"client_msg_id"})
"""What Slack's clients send and its errors speak of, though no page does."""
ARGUMENTS = {
    "chat.postMessage": set(signature(AsyncWebClient.chat_postMessage).parameters),
    "chat.update": set(signature(AsyncWebClient.chat_update).parameters),
}


def violation(seen: Seen) -> str | None:
    """Return what in a posted message the library would not have sent; None where nothing is."""
    if seen.method != "POST" or not seen.headers.get("content-type", "").startswith("application/json"):
        return None
    try:
        given = json.loads(seen.body)
    except ValueError:
        return None  # for the double to refuse, as Slack does
    name = seen.path.rpartition("/")[2]
    known = ARGUMENTS.get(name)
    if known is not None and (unknown := set(given) - known - UNDOCUMENTED):
        return f"{name} has no argument {min(unknown)}"
    return next(filter(None, map(_malformed, given.get("blocks") or [])), None)


def _malformed(block: Any) -> str | None:
    try:
        model = Block.parse(block)
        return None if model is not None and model.to_dict() else f"there is no block {block!r}"
    except SlackObjectFormationError as error:
        return str(error)
