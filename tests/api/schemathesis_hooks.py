"""What schemathesis cannot know: answers that depend on what the hub holds, or on more than a schema can say.

It calls a request valid that fits the schema. The hub refuses some of those rightly: each is named here by its code
and, where that is too wide, by the words of the refusal. All other checks stay as they are.
"""

from itertools import count
from typing import Any, Final

import schemathesis
from schemathesis.core.failures import Failure

CODES: Final = {
    "invalid_cursor": "a cursor comes from the page before; no schema makes one",
    "idempotency_mismatch": "the key came with another request before",
    "version_mismatch": "the task has another version by now",
}
WORDS: Final = (
    # What is there and what is not.
    "There is no task",
    "would wait for itself",
    "lies in the future",
    "lies after `to`",
    "must be in the future",
    # More than a schema can say.
    "The character NUL is not allowed.",
    "not valid JSON",  # a number beyond 64 bits
    "nested more than",
    "must be a time of the years 1970 to 9999",
    "printable characters",
    "types can be asked for at once",
    "This parameter may be given once",
    # RFC 6749: a client proves itself once, and asks for what is its own.
    "A field is given twice.",
    "not both",
    "does not fit",
    "may not have one of these scopes",
)
REFUSED_FOR_ANOTHER_REASON: Final = {"version_mismatch", "body_too_large"}
"""Codes of statuses that schemathesis does not count as a refusal of bad data."""

_number = count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let most requests have an Idempotency-Key of their own: with one for all, nearly all are refused."""
    key = (case.headers or {}).get("Idempotency-Key")
    number = next(_number)
    if isinstance(key, str) and 0 < len(key) < 200 and key.isprintable() and number % 4:
        case.headers["Idempotency-Key"] = f"{key}-{number}"


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Keep every failure but refusals, by a schema's measure, of what only the hub can judge."""
    kind = (response.headers.get("content-type") or [""])[0]
    if response.status_code >= 500 or "json" not in kind:
        return True
    problem = response.json()
    if failure.title == "Schema-violating request accepted":
        return problem.get("code") not in REFUSED_FOR_ANOTHER_REASON
    if failure.title != "Schema-valid request rejected" or problem.get("code") in CODES:
        return failure.title != "Schema-valid request rejected"
    told = [problem.get("detail", ""), problem.get("error_description", "")]
    told += [error["message"] for error in problem.get("errors", [])]
    return not any(words in text for text in told for words in WORDS)
