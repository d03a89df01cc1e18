"""GitLab: one issue per task in one project (https://docs.gitlab.com/api/issues/).

GitLab takes no idempotency key from a plain token. Issues and notes carry the id of their event in an HTML comment
nobody sees, and are looked for in the project's list before they are made again.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlencode

import orjson
from pydantic import Field, field_validator

from ralf_hub.connectors.base import (
    Check,
    HttpRequest,
    HttpResponse,
    Identity,
    Outcome,
    Retry,
)
from ralf_hub.connectors.fields import BaseUrl
from ralf_hub.connectors.identities import named
from ralf_hub.connectors.issue_api import PAGE_SIZE, IssueApi, IssueSettings, Step, Target, said_of
from ralf_hub.connectors.issues import IssueConnector
from ralf_hub.connectors.judging import excerpt, judge_status, retry_after_s, until_reset_s
from ralf_hub.model import Json, Link

API_PATH: Final = "/api/v4"
LIMIT_WAIT_S: Final = 60.0
"""GitLab counts by the minute; this long where a limit names no time."""

_PROJECT: Final = re.compile(r"[1-9][0-9]{0,18}|\w[\w.-]*(?:/(?!\.{1,2}(?:/|$))[\w.][\w.-]*)+")
_WEB_URL: Final = re.compile(r"^(?:https?://[^/]+/|git@[^:]+:)(.+?)(?:\.git)?/?$")
_MERGE: Final = re.compile(r"(?:https?://[^/]+/(.+?)/-/merge_requests/|!)?([1-9][0-9]{0,18})")


class GitLabSettings(IssueSettings):
    """A GitLab project whose issues show RALF's tasks."""

    project: str = Field(description="The project: `group/name`, or its number.")
    base_url: BaseUrl = Field(default="https://gitlab.com", description="The GitLab server.")

    @field_validator("project", mode="before")
    @classmethod
    def _project_can_be_named(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            return value
        text = str(value).strip()
        found = _WEB_URL.match(text)
        name = found[1] if found else text
        if not _PROJECT.fullmatch(name):
            raise ValueError("must be a project such as group/name, or its number")
        return name

    @field_validator("base_url")
    @classmethod
    def _base_url_is_the_server_s(cls, value: str) -> str:
        return value.removesuffix(API_PATH)


class GitLabApi(IssueApi):
    """GitLab's requests and answers."""

    title_length_max: ClassVar[int] = 250
    """Below GitLab's 255: there is room where it counts otherwise than we do."""
    body_length_max: ClassVar[int] = 200_000
    """Far below GitLab's 1,048,576: nobody reads more, and it is kept in the outbox."""
    service_name: ClassVar[str] = "GitLab"
    project_word: ClassVar[str] = "project"
    comments_newest_first: ClassVar[bool] = True

    @property
    def project(self) -> str:
        """The project, `group/name` or its number."""
        return str(self.settings.project)

    def key(self, target: Target) -> str:
        """Return `group/name#7`, or `group/name!7` for a merge request."""
        return f"{self.project}{'!' if target.merges else '#'}{target.number}"

    # --- requests ---------------------------------------------------------------------------------

    def create(self, payload: Mapping[str, Json]) -> HttpRequest:
        """Return the request for https://docs.gitlab.com/api/issues/#create-an-issue."""
        body = {"title": payload["title"], "description": payload["body"], "labels": payload["labels"]}
        return self._call("POST", "/issues", body)

    def steps(self, action: str, payload: Mapping[str, Json], target: Target) -> Sequence[Step]:
        """Return the one request of an action. GitLab keeps no reason for closing."""
        match action:
            case "comment":
                request = self._call("POST", f"{_path(target)}/notes", {"body": payload["body"]})
            case "close":
                request = self._call("PUT", _path(target), {"state_event": "close"})
            case _:
                changes = {"add_labels": payload["add"], "remove_labels": payload["remove"]}
                request = self._call(
                    "PUT", _path(target), {key: names for key, names in changes.items() if names}
                )
        return [Step(request)]

    def read(self, target: Target) -> HttpRequest:
        """Return the request for one issue or merge request."""
        return self._call("GET", _path(target))

    def issues(self, since: str, page: int) -> HttpRequest:
        """Return a page of the issues made since then, oldest first. The list is up to date, the search may lag."""
        query = {"created_after": since, "order_by": "created_at", "sort": "asc", "scope": "all"}
        return self._call("GET", f"/issues?{urlencode({**query, 'per_page': PAGE_SIZE, 'page': page})}")

    def comments(self, target: Target, since: str, page: int) -> HttpRequest:
        """Return a page of the notes, newest first: they cannot be filtered by time."""
        del since
        query = {"order_by": "created_at", "sort": "desc", "per_page": PAGE_SIZE, "page": page}
        return self._call("GET", f"{_path(target)}/notes?{urlencode(query)}")

    def project_request(self) -> HttpRequest:
        """Return the request for the project."""
        return self._call("GET", "")

    def projects_request(self) -> HttpRequest:
        """Return the request for the projects the token's user is a member of."""
        query = {"membership": "true", "simple": "true", "per_page": PAGE_SIZE}
        return HttpRequest("GET", f"{self._api_url}/projects?{urlencode(query)}", self._headers())

    def user_request(self) -> HttpRequest:
        """Return the request for https://docs.gitlab.com/api/users/#retrieve-your-user-details."""
        return HttpRequest("GET", f"{self._api_url}/user", self._headers())

    @property
    def _api_url(self) -> str:
        return f"{self.settings.base_url}{API_PATH}"

    def _call(self, method: str, path: str, body: Mapping[str, Json] | None = None) -> HttpRequest:
        url, headers = f"{self._api_url}/projects/{quote(self.project, safe='')}{path}", self._headers()
        if body is None:
            return HttpRequest(method, url, headers)
        headers["content-type"] = "application/json"
        return HttpRequest(method, url, headers, orjson.dumps(body))

    def _headers(self) -> dict[str, str]:
        # Personal, project and group tokens are all taken as bearer tokens, and OAuth's as nothing else.
        return {"authorization": f"Bearer {self.token}", "accept": "application/json"}

    # --- answers ----------------------------------------------------------------------------------

    def judge(self, response: HttpResponse, *, creates: bool = False) -> Outcome:
        """Judge an answer by https://docs.gitlab.com/api/rest/troubleshooting/."""
        now_ms = self.clock.now()
        status, seen, words = response.status, excerpt(response), said_of(response)
        if status == 429:  # noqa: PLR2004 - too many requests
            wait = _limit_wait_s(response, now_ms)
            reason = f"GitLab limits the requests (429){words}"
            return Retry(reason, status, seen, wait, counts=False, holds_connector=True)
        if status == 409 and not creates:  # noqa: PLR2004 - someone else changed it in this moment
            return Retry(f"GitLab is changing it already (409){words}", status, seen)
        return self.refusal(response) or judge_status(response, now_ms, creates=creates)

    def link_of(self, answer: Mapping[str, Json]) -> Link | None:
        """Return the link to an issue, by its number in the project."""
        number, url = answer.get("iid"), answer.get("web_url")
        if not isinstance(number, int):
            return None
        return Link(
            "",
            external_id=str(number),
            external_key=f"{self.project}#{number}",
            url=url if isinstance(url, str) else None,
            state="linked",
            last_state="closed" if answer.get("state") == "closed" else "opened",
        )

    def text_of(self, answer: Mapping[str, Json]) -> Json:
        """Return the text of an issue (`description`) or note (`body`)."""
        return answer.get("body", answer.get("description"))

    def is_locked(self, answer: Mapping[str, Json]) -> bool:
        """Return whether the discussion is locked."""
        return answer.get("discussion_locked") is True

    def merge_number(self, value: Json) -> str | None:
        """Return the merge request's number: of `12`, `"!12"` or `https://HOST/group/name/-/merge_requests/12`."""
        found = _MERGE.fullmatch(str(value).strip()) if isinstance(value, (int, str)) else None
        if found is None or (found[1] is not None and found[1].lower() != self.project.lower()):
            return None
        return found[2]

    def project_check(self, answer: Mapping[str, Json]) -> Check:
        """Return whether the project keeps issues and takes changes."""
        name = answer.get("path_with_namespace")
        if answer.get("archived") is True:
            return Check(ok=False, message=f"{name} is archived: it takes no changes")
        if answer.get("issues_enabled") is False or answer.get("issues_access_level") == "disabled":
            return Check(ok=False, message=f"{name} has no issues: switch them on in its settings")
        return Check(ok=True, message=f"the token reads {name}; nothing was written")

    def user_of(self, answer: Mapping[str, Json]) -> Identity | None:
        """Return name and id. The token of a project or group is a bot's."""
        return named(answer, "username", "id", is_bot=answer.get("bot") is True)

    def project_name(self, answer: Mapping[str, Json]) -> Json:
        """Return `group/name`."""
        return answer.get("path_with_namespace")


class GitLabConnector(IssueConnector):
    """Keeps one issue per task in one project."""

    service: ClassVar[str] = "gitlab"
    settings_model: ClassVar[type[IssueSettings]] = GitLabSettings
    api_class: ClassVar[type[IssueApi]] = GitLabApi


def _path(target: Target) -> str:
    return f"/{'merge_requests' if target.merges else 'issues'}/{target.number}"


def _limit_wait_s(response: HttpResponse, now_ms: int) -> float:
    """Return how long a limit asks to wait, in seconds: https://docs.gitlab.com/security/rate_limits/."""
    wait = retry_after_s(response.headers, now_ms)
    if wait is not None:
        return wait
    return until_reset_s(response.headers.get("ratelimit-reset", ""), now_ms) or LIMIT_WAIT_S
