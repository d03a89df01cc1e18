"""Slack: slash commands, buttons and events (https://docs.slack.dev/interactivity, https://docs.slack.dev/apis/events-api)."""

from typing import Final

from ralf_hub.connectors.slack_layout import BUTTON_ACTIONS, escape
from ralf_hub.model import Json
from ralf_hub.verdicts import Signed
from ralf_hub.webhooks.received import (
    FORM,
    Command,
    Received,
    Reply,
    dedup,
    digest,
    fact,
    facts_of,
    join_type,
    media_type,
    named,
    parse_object,
    read_form,
    read_json,
    text_at,
    words,
)

_FACTS: Final = {
    "title": "event.type",
    "by": "event.user",
    "channel": "event.channel",
    "message": "event.text",
}
BLOCKS_MAX: Final = 50


def read(request: Signed) -> Received:
    """Return what Slack says: forms are commands and buttons, JSON are events."""
    if media_type(request) != FORM:
        return _event(request, read_json(request))
    form = read_form(request)
    if "ssl_check" in form:
        return Received(digest(request.body), "ssl_check", form, handshake=Reply())
    if "payload" in form:
        return _interaction(request, parse_object(form["payload"]))
    by = form.get("user_name") or form.get("user_id") or "somebody"
    command = Command(form.get("text", ""), fact(by), form.get("user_id", ""))
    facts = {"by": fact(by), "channel": fact(form.get("channel_name", ""))}
    return Received(dedup(form.get("trigger_id", ""), request), "command", form, facts, command=command)


def answer(text: str, received: Received) -> Reply:
    """Return the answer to a command, seen by who gave it; a button's is shown by changing its message."""
    if received.command is not None and received.command.message:
        return Reply()
    return Reply({"response_type": "ephemeral", "text": escape(text)})


def _event(request: Signed, payload: dict[str, Json]) -> Received:
    if text_at(payload, "type") == "url_verification":
        challenge = {"challenge": text_at(payload, "challenge")}
        return Received(digest(request.body), "url_verification", payload, handshake=Reply(challenge))
    return Received(
        dedup_key=dedup(text_at(payload, "event_id"), request),
        event_type=join_type("event", text_at(payload, "event.type")),
        payload=payload,
        facts=facts_of(payload, _FACTS),
        actors=words(
            text_at(payload, "event.user"),
            text_at(payload, "event.bot_id"),
            text_at(payload, "event.bot_profile.app_id"),
        ),
    )


def _interaction(request: Signed, payload: dict[str, Json]) -> Received:
    """Read a button of ours as the command it stands for; other interactions are events."""
    kind = text_at(payload, "type") or "interaction"
    by = text_at(payload, "user.username") or text_at(payload, "user.name") or text_at(payload, "user.id")
    facts: dict[str, Json] = {"by": fact(by), "channel": fact(text_at(payload, "channel.name"))}
    action_id, value = text_at(payload, "actions.action_id"), text_at(payload, "actions.value")
    verb = BUTTON_ACTIONS.get(action_id)
    if verb is None:
        key = dedup(text_at(payload, "trigger_id"), request)
        return Received(key, join_type(kind), payload, facts)
    pressed_at = text_at(payload, "actions.action_ts")
    command = Command(f"{verb} {value}", fact(by), text_at(payload, "user.id"), _message(payload))
    key = named(f"{pressed_at} {action_id} {value}") if pressed_at else digest(request.body)
    return Received(key, join_type(kind), payload, facts, command=command)


def _message(payload: dict[str, Json]) -> dict[str, Json]:
    """Return the message whose button was pressed, as far as it is needed to change it."""
    message = payload.get("message")
    blocks = message.get("blocks") if isinstance(message, dict) else None
    return {
        "connector": text_at(payload, "actions.block_id").removeprefix("ralf "),
        "channel": text_at(payload, "channel.id"),
        "ts": text_at(payload, "message.ts"),
        "text": text_at(payload, "message.text"),
        "blocks": [
            block
            for block in (blocks if isinstance(blocks, list) else [])[:BLOCKS_MAX]
            if isinstance(block, dict) and block.get("type") != "actions"
        ],
    }
