"""What is asked of an issue tracker, and what its own file answers: requests made and answers read, without sending."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pydantic import Field, field_validator

from ralf_hub.clock import Clock
from ralf_hub.connectors.base import (
    Check,
    ConnectorSettings,
    CredentialsBroken,
    HttpRequest,
    HttpResponse,
    Identity,
    Outcome,
    Rejected,
)
from ralf_hub.connectors.fields import Token
from ralf_hub.connectors.judging import excerpt
from ralf_hub.model import Json, Link
from ralf_hub.texts import one_line

PAGE_SIZE: Final = 100
LABEL_LENGTH_MAX: Final = 50
SAID_LENGTH_MAX: Final = 300

_MOVED: Final = frozenset({301, 302, 307, 308})
_DENIED: Final = frozenset({401, 403})
_LATER: Final = frozenset({408, 425})


class IssueSettings(ConnectorSettings):
    """What every issue tracker needs."""

    token: Token = Field(description="An access token that may write issues.")
    create_issues: bool = Field(
        default=True,
        description="Whether a task without an issue gets one; if not, only tasks that have one are kept up to date.",
    )
    labels: tuple[str, ...] = Field(default=("ralf",), description="Labels of every issue the hub makes.")
    in_progress_label: str = Field(
        default="in-progress", description="The label while a task is worked on; empty: none."
    )
    failed_label: str = Field(default="ralf-failed", description="The label of a failed task; empty: none.")

    @field_validator("labels")
    @classmethod
    def _labels_can_be_set(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("a label is empty")
        return tuple(_label(name) for name in value)

    @field_validator("in_progress_label", "failed_label")
    @classmethod
    def _label_can_be_set(cls, value: str) -> str:
        return _label(value)


def _label(name: str) -> str:
    if name != name.strip() or "," in name or not name.isprintable():
        raise ValueError("a label has a comma, a control character or white space at an end")
    if len(name) > LABEL_LENGTH_MAX:
        raise ValueError(f"a label may have {LABEL_LENGTH_MAX} characters")
    return name


@dataclass(frozen=True, slots=True)
class Target:
    """What an action is for: an issue of the project or, with `merges`, a pull or merge request, by its number."""

    number: str
    merges: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One request of an action. An answer in `done` says that there was nothing left to do."""

    request: HttpRequest
    done: frozenset[int] = frozenset()


class IssueApi(ABC):
    """One project of one service."""

    title_length_max: ClassVar[int]
    body_length_max: ClassVar[int]
    service_name: ClassVar[str]
    project_word: ClassVar[str]
    """What the service calls a project, and the settings."""
    comments_newest_first: ClassVar[bool] = False

    def __init__(self, settings: Any, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.token: str = settings.token.get_secret_value()

    @property
    @abstractmethod
    def project(self) -> str:
        """The project as the settings name it."""

    @abstractmethod
    def key(self, target: Target) -> str:
        """Return how people write *target*: `owner/name#7`."""

    # --- requests ---------------------------------------------------------------------------------

    @abstractmethod
    def create(self, payload: Mapping[str, Json]) -> HttpRequest:
        """Return the request that makes an issue of `title`, `body` and `labels`."""

    @abstractmethod
    def steps(self, action: str, payload: Mapping[str, Json], target: Target) -> Sequence[Step]:
        """Return the requests of `comment` (`body`), `label` (`add`, `remove`) or `close` (`reason`)."""

    @abstractmethod
    def read(self, target: Target) -> HttpRequest:
        """Return the request for one issue."""

    @abstractmethod
    def issues(self, since: str, page: int) -> HttpRequest:
        """Return the request for a page of issues in any state, of those made since then.

        Where older ones may be among them, the newest come first: the first that is too old ends the look-up.
        """

    @abstractmethod
    def comments(self, target: Target, since: str, page: int) -> HttpRequest:
        """Return the request for a page of comments, at least those made since then."""

    @abstractmethod
    def project_request(self) -> HttpRequest:
        """Return the request for the project itself."""

    @abstractmethod
    def projects_request(self) -> HttpRequest:
        """Return the request for the projects the token sees."""

    @abstractmethod
    def user_request(self) -> HttpRequest:
        """Return the request for the user the token is of."""

    # --- answers ----------------------------------------------------------------------------------

    @abstractmethod
    def judge(self, response: HttpResponse, *, creates: bool = False) -> Outcome:
        """Return the verdict on *response*; Delivered carries no link yet."""

    def refusal(self, response: HttpResponse) -> Outcome | None:
        """Return the verdict on what both services refuse alike: a project that has moved, a token, a request."""
        status, seen, words = response.status, excerpt(response), said_of(response)
        if status in _MOVED:
            word = self.project_word
            return CredentialsBroken(
                f"the {word} has moved ({status}): set `{word}` to its new name", status, seen
            )
        if status in _DENIED:
            return CredentialsBroken(f"{self.service_name} refuses the token ({status}){words}", status, seen)
        if status // 100 == 4 and status not in _LATER:  # noqa: PLR2004 - a client's error
            return Rejected(f"{self.service_name} refuses it ({status}){words}", status, seen)
        return None

    @abstractmethod
    def link_of(self, answer: Mapping[str, Json]) -> Link | None:
        """Return the link to the issue in *answer*; None where it is none."""

    @abstractmethod
    def text_of(self, answer: Mapping[str, Json]) -> Json:
        """Return the text of an issue or comment."""

    @abstractmethod
    def is_locked(self, answer: Mapping[str, Json]) -> bool:
        """Return whether an issue takes no comments."""

    @abstractmethod
    def merge_number(self, value: Json) -> str | None:
        """Return the number of the pull or merge request *value* names: a number, or a URL in this project."""

    @abstractmethod
    def project_check(self, answer: Mapping[str, Json]) -> Check:
        """Return what the project's answer says about keeping issues there."""

    @abstractmethod
    def user_of(self, answer: Mapping[str, Json]) -> Identity | None:
        """Return who that is, by the names that webhooks use."""

    @abstractmethod
    def project_name(self, answer: Mapping[str, Json]) -> Json:
        """Return how a project is named in the settings."""


def said_of(response: HttpResponse) -> str:
    """Return what an error's JSON body says, to go on with behind a reason."""
    told = said(response)
    return f": {told}" if told else ""


def said(response: HttpResponse) -> str:
    """Return what an error's JSON body says, on one line; empty where it says nothing."""
    answer = response.json()
    if not isinstance(answer, dict):
        return ""
    told = (answer.get(key) for key in ("message", "error", "error_description", "errors"))
    return one_line("; ".join(_told(part) for part in told if part))[:SAID_LENGTH_MAX]


def _told(part: Json) -> str:
    if isinstance(part, Mapping):
        return ", ".join(f"{key}: {_told(value)}" for key, value in part.items())
    return ", ".join(_told(value) for value in part) if isinstance(part, list) else str(part)
