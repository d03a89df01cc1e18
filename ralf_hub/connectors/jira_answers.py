"""What Jira's answers mean.

https://developer.atlassian.com/cloud/jira/platform/rest/v3/intro/#status-codes, and of its limits
https://developer.atlassian.com/cloud/jira/platform/rate-limiting/
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ralf_hub.clock import MS_PER_S, parse_iso
from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Gone,
    HttpResponse,
    Outcome,
    Rejected,
    Retry,
)
from ralf_hub.connectors.judging import RETRY_AFTER_MAX_S, excerpt, judge_status, retry_after_s
from ralf_hub.connectors.objects import SETTLE_S
from ralf_hub.model import Json
from ralf_hub.texts import cut, one_line

SAID_LENGTH_MAX: Final = 300
_PER_ISSUE: Final = "jira-per-issue-on-write"


def judge(response: HttpResponse, now_ms: int, *, creates: bool = False) -> Outcome:
    """Judge *response*; *creates* is True where a repeat would make a second issue or comment."""
    status, seen = response.status, excerpt(response)
    if sign_in_failed(response):
        return CredentialsBroken("Jira refuses the e-mail or the API token", status, seen)
    outcome = judge_status(response, now_ms, creates=creates)
    said = words(response)
    wait = _wait_s(response.headers, now_ms)
    match status:
        case 401:
            outcome = CredentialsBroken("Jira refuses the e-mail or the API token (401)", status, seen)
        case 403:
            outcome = CredentialsBroken(
                f"the account may not do this: {said or 'forbidden'} (403)", status, seen
            )
        case 404 if not is_jira(response):
            outcome = CredentialsBroken("no Jira answers there: check base_url (404)", status, seen)
        case 409:
            outcome = Retry(
                f"somebody else was changing the issue: {said or 'conflict'} (409)", status, seen, wait
            )
        case 429:
            limit = response.headers.get("ratelimit-reason", "")
            told = f"too many requests ({one_line(limit)[:60] or 429})"
            # The limit on one issue leaves the others free to go on.
            outcome = Retry(told, status, seen, wait, counts=False, holds_connector=limit != _PER_ISSUE)
        case _ if isinstance(outcome, Ambiguous):
            outcome = replace(outcome, retry_after_s=max(wait or 0.0, SETTLE_S))
        case _ if isinstance(outcome, (Rejected, Gone)):
            outcome = Rejected(f"Jira refuses it: {said or 'no reason given'} ({status})", status, seen)
    return outcome


def is_jira(response: HttpResponse) -> bool:
    """Return whether the body is one of Jira's own; a page for people means the address is wrong."""
    answer = response.json()
    return isinstance(answer, dict) and ("errorMessages" in answer or "errors" in answer)


def sign_in_failed(response: HttpResponse) -> bool:
    """Return whether Jira took the call as one of a stranger: it then says 404 of all that strangers may not see."""
    reason = response.headers.get("x-seraph-loginreason", "").upper()
    return "FAILED" in reason or "DENIED" in reason


def words(response: HttpResponse) -> str:
    """Return what Jira says is wrong, in one line; empty where it says nothing."""
    answer = response.json()
    if not isinstance(answer, dict):
        return ""
    messages = answer.get("errorMessages")
    said = [str(message) for message in messages] if isinstance(messages, list) else []
    said += [f"{name}: {message}" for name, message in faults(response).items()]
    return cut(one_line("; ".join(said)), SAID_LENGTH_MAX)


def faults(response: HttpResponse) -> Mapping[str, str]:
    """Return what Jira says of single fields."""
    answer = response.json()
    found: Json = answer.get("errors") if isinstance(answer, dict) else None
    return {str(name): str(said) for name, said in found.items()} if isinstance(found, dict) else {}


def _wait_s(headers: Mapping[str, str], now_ms: int) -> float | None:
    """Return how long Jira wants to be left alone: `Retry-After`, else the moment in `X-RateLimit-Reset`."""
    wait = retry_after_s(headers, now_ms)
    if wait is not None:
        return wait
    try:
        moment = parse_iso(headers["x-ratelimit-reset"])
    except (KeyError, ValueError, OverflowError):
        return None
    return min(max((moment - now_ms) / MS_PER_S, 0.0), RETRY_AFTER_MAX_S)
