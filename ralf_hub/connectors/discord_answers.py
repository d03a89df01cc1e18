"""What Discord's answers mean: the status, and the code in the body, which says more.

https://docs.discord.com/developers/topics/opcodes-and-status-codes#json and, for limits,
https://docs.discord.com/developers/topics/rate-limits. Discord bans an address for an hour that collects 10,000
answers of 401, 403 or 429 within ten minutes, so each of these keeps the whole connector quiet.
"""

from typing import Final

from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    HttpResponse,
    Outcome,
    Rejected,
    Retry,
)
from ralf_hub.connectors.judging import RETRY_AFTER_MAX_S, excerpt, judge_status, retry_after_s
from ralf_hub.model import Json
from ralf_hub.texts import cut, one_line

LIMITED_WAIT_S: Final = 60.0
"""How long to keep quiet where a 429 names no time: it is then the network before Discord that refuses us."""
ERRORS_TOLD_MAX: Final = 5
ERROR_LENGTH_MAX: Final = 120

UNKNOWN_CHANNEL, MISSING_ACCESS, MISSING_PERMISSION = 10003, 50001, 50013
REPLY_REFUSED: Final = frozenset({160002})
"""The bot may not answer under a message; it may still write below it."""

_CREDENTIALS: Final = {
    10015: "the webhook was deleted: make a new one",
    MISSING_ACCESS: "the bot cannot see the channel: invite it there",
    MISSING_PERMISSION: "the bot may not write in the channel: let it send messages and embed links there",
    50027: "the webhook's token is not valid: copy the URL again",
}
_BLOCKED: Final = frozenset({200000, 240000})
"""A rule of the server refuses this very message: its words or an address in it."""
_ADVICE: Final = {
    200000: "a rule of the server blocks its words",
    240000: "Discord blocks an address in it",
    UNKNOWN_CHANNEL: "there is no such channel: copy its id again",
    50006: "the message is empty",
    50035: "it does not like the message",
}


def judge(response: HttpResponse, now_ms: int) -> Outcome:
    """Judge the answer to a message or question; Delivered carries no link yet."""
    body = response.json()
    answer = body if isinstance(body, dict) else {}
    status, seen = response.status, excerpt(response)
    if status == 429:  # noqa: PLR2004 - HTTP's word on limits
        return _limited(response, answer, now_ms)
    code = code_of(response)
    if code is not None and 400 <= status < 500:  # noqa: PLR2004 - HTTP's client errors
        advice = _CREDENTIALS.get(code) or _ADVICE.get(code, "")
        reason = f"Discord says {_said(answer)} ({status}, code {code}){f': {advice}' if advice else ''}"
        if code in _CREDENTIALS or (status in {401, 403} and code not in _BLOCKED):
            return CredentialsBroken(reason, status, seen)
        return Rejected(reason, status, seen)
    outcome = judge_status(response, now_ms, creates=True)
    if status == 200 and not answer:  # noqa: PLR2004 - HTTP's word
        return Ambiguous("the answer is not Discord's JSON", status, seen)
    return outcome


def code_of(response: HttpResponse) -> int | None:
    """Return the code of the error Discord names; None where it names none."""
    body = response.json()
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _limited(response: HttpResponse, answer: dict[str, Json], now_ms: int) -> Retry:
    asked = answer.get("retry_after")
    wait = float(asked) if isinstance(asked, (int, float)) and not isinstance(asked, bool) else None
    if wait is None:
        wait = retry_after_s(response.headers, now_ms)
    wait = LIMITED_WAIT_S if wait is None else min(max(wait, 0.0), RETRY_AFTER_MAX_S)
    whom = "of the whole application" if answer.get("global") is True else "of this channel"
    reason = f"Discord's limit {whom} is reached (429)" if answer else "too many requests (429)"
    return Retry(reason, response.status, excerpt(response), wait, counts=False, holds_connector=True)


def _said(answer: dict[str, Json]) -> str:
    """Return Discord's words: the message, and which parts of the request it is about."""
    message = answer.get("message")
    words = [cut(one_line(message), ERROR_LENGTH_MAX)] if isinstance(message, str) else ["no"]
    words += _errors(answer.get("errors"), "")[:ERRORS_TOLD_MAX]
    return "; ".join(words)


def _errors(tree: Json, path: str, depth: int = 6) -> list[str]:
    """Return the leaves of Discord's tree of errors, as `embeds.0.title: Must be ...`."""
    if not isinstance(tree, dict) or depth == 0:
        return []
    leaves = tree.get("_errors")
    found = [
        cut(one_line(f"{path}: {leaf.get('message')}"), ERROR_LENGTH_MAX)
        for leaf in (leaves if isinstance(leaves, list) else [])
        if isinstance(leaf, dict)
    ]
    for key, branch in tree.items():
        if key != "_errors":
            found += _errors(branch, f"{path}.{key}".strip("."), depth - 1)
    return found
