"""Every error the hub answers with: a named exception, one table from code to HTTP status and title."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ralf_hub.model import Json


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of the error table."""

    status: int
    title: str


PROBLEMS: Final[Mapping[str, Problem]] = {
    "invalid_json": Problem(400, "The body is not valid JSON"),
    "invalid_parameter": Problem(400, "A query parameter is not valid"),
    "invalid_cursor": Problem(400, "The cursor is not one this list gave out"),
    "bad_request": Problem(400, "The request cannot be read"),
    "missing_key": Problem(401, "An API key is needed"),
    "invalid_key": Problem(401, "The API key is not valid"),
    "invalid_token": Problem(401, "The access token is not valid"),
    "invalid_signature": Problem(401, "The webhook's signature is not valid"),
    "missing_scope": Problem(403, "The key or token lacks the scope for this"),
    "origin_refused": Problem(403, "This origin may not connect"),
    "not_found": Problem(404, "There is nothing here"),
    "method_not_allowed": Problem(405, "This method is not offered here"),
    "conflict": Problem(409, "The request conflicts with the present state"),
    "task_exists": Problem(409, "A task with this id exists"),
    "invalid_transition": Problem(409, "The task cannot move to this status"),
    "lease_lost": Problem(409, "The lease on this task is not yours or has ended"),
    "version_mismatch": Problem(412, "The task has changed since you read it"),
    "body_too_large": Problem(413, "The body is larger than allowed"),
    "unsupported_media_type": Problem(415, "This content type is not understood"),
    "validation_failed": Problem(422, "Some fields are not valid"),
    "idempotency_mismatch": Problem(422, "This Idempotency-Key was used for another request"),
    "rate_limited": Problem(429, "Too many requests"),
    "internal_error": Problem(500, "Something went wrong inside the hub"),
    "not_ready": Problem(503, "The hub is starting or stopping"),
    "storage_unavailable": Problem(503, "The database cannot be written"),
    "identity_unavailable": Problem(503, "The identity provider cannot be reached"),
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request or one key of the settings."""

    field: str
    message: str


class HubError(Exception):
    """An error with a row in `PROBLEMS`. `extra` adds members to the problem document."""

    code: str = "internal_error"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        extra: Mapping[str, Json] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if code is not None:
            self.code = code
        super().__init__(detail or PROBLEMS[self.code].title)
        self.detail = detail or PROBLEMS[self.code].title
        self.errors = tuple(errors)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """The HTTP status of this error."""
        return PROBLEMS[self.code].status


class NotFoundError(HubError):
    """Nothing of that kind has that id."""

    code = "not_found"


class ValidationError(HubError):
    """Fields that are not valid, all of them at once."""

    code = "validation_failed"


class ConflictError(HubError):
    """The present state forbids this."""

    code = "conflict"


class StorageError(HubError):
    """The database cannot be written now: full, read-only, failing or locked for too long."""

    code = "storage_unavailable"


class DatabaseRefusedError(Exception):
    """The database file cannot be used at all; the message says why and what to do."""


class SettingsError(Exception):
    """Settings that cannot be used: every problem at once, each a `SettingsProblem`."""

    def __init__(self, problems: Sequence["SettingsProblem"]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class SettingsProblem:
    """One problem of a settings file: where, what, and what to write instead."""

    file: str
    key: str
    message: str
    remedy: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        tail = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.file}: {self.key}: {self.message}{tail}"
