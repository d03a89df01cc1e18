"""What Trello's answers mean: mostly a status and a few plain words, no headers that tell of limits.

https://developer.atlassian.com/cloud/trello/guides/rest-api/status-codes/ and of its limits
https://developer.atlassian.com/cloud/trello/guides/rest-api/rate-limits/
"""

from dataclasses import replace
from typing import Final

from ralf_hub.connectors.base import (
    Ambiguous,
    CredentialsBroken,
    Gone,
    HttpResponse,
    Outcome,
    Rejected,
    Retry,
)
from ralf_hub.connectors.judging import excerpt, judge_status, retry_after_s
from ralf_hub.connectors.objects import SETTLE_S
from ralf_hub.texts import cut, one_line

LIMIT_WINDOW_S: Final = 11.0
"""Limits count in windows of 10 s; another 200 refusals within one block the key for all of it."""
SAID_LENGTH_MAX: Final = 200


def judge(response: HttpResponse, now_ms: int, *, creates: bool = False) -> Outcome:
    """Judge *response*; *creates* is True where a repeat would make a second card or comment."""
    status, seen, said = response.status, excerpt(response), words(response)
    outcome = judge_status(response, now_ms, creates=creates)
    match status:
        case 401 | 403:
            outcome = CredentialsBroken(
                f"Trello refuses the key or the token: {said or 'no reason given'} ({status})", status, seen
            )
        case 429:
            wait = retry_after_s(response.headers, now_ms) or LIMIT_WINDOW_S
            told = f"too many requests ({said or 429})"
            outcome = Retry(told, status, seen, wait, counts=False, holds_connector=True)
        case 409:
            outcome = Retry(f"somebody else was changing it: {said or 'conflict'} (409)", status, seen)
        case _ if isinstance(outcome, Ambiguous):
            outcome = replace(outcome, retry_after_s=max(outcome.retry_after_s or 0.0, SETTLE_S))
        case _ if isinstance(outcome, (Rejected, Gone)):
            outcome = Rejected(f"Trello refuses it: {said or 'no reason given'} ({status})", status, seen)
    return outcome


def words(response: HttpResponse) -> str:
    """Return what Trello says is wrong, in one line: a JSON message, else its plain text; no web page."""
    answer = response.json()
    if isinstance(answer, dict):
        said = [str(answer[key]) for key in ("error", "message") if isinstance(answer.get(key), str)]
        return cut(one_line(": ".join(said)), SAID_LENGTH_MAX)
    text = response.text.strip()
    return "" if text.startswith("<") else cut(one_line(text), SAID_LENGTH_MAX)
