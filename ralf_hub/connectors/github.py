"""GitHub: one issue per task in one repository (https://docs.github.com/en/rest/issues).

GitHub has no idempotency key. Every issue and comment carries the id of its event in an HTML comment nobody sees, and
before one is made again it is looked for in the repository's list, which unlike the search is up to date at once.
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
from ralf_hub.connectors.issue_api import PAGE_SIZE, IssueApi, IssueSettings, Step, Target, said, said_of
from ralf_hub.connectors.issues import IssueConnector
from ralf_hub.connectors.judging import excerpt, judge_status, retry_after_s, until_reset_s
from ralf_hub.model import Json, Link

API_VERSION: Final = "2022-11-28"
SECONDARY_LIMIT_WAIT_S: Final = 60.0
"""What GitHub asks for where a limit names no time."""

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
_WEB_URL: Final = re.compile(r"^(?:https?://[^/]+/|git@[^:]+:)?([^/\s]+/[^/\s]+?)(?:\.git)?/?$")
_PULL: Final = re.compile(r"(?:https?://[^/]+/([^/]+/[^/]+)/pull/|#)?([1-9][0-9]{0,18})")
_NOT_FOUND: Final = frozenset({404})


class GitHubSettings(IssueSettings):
    """A GitHub repository whose issues show RALF's tasks."""

    repository: str = Field(description="The repository, `owner/name`.")
    base_url: BaseUrl = Field(
        default="https://api.github.com",
        description="GitHub's API; GitHub Enterprise Server: `https://HOST/api/v3`.",
    )

    @field_validator("repository")
    @classmethod
    def _repository_can_be_named(cls, value: str) -> str:
        found = _WEB_URL.match(value.strip())
        name = found[1] if found else value
        if not _REPOSITORY.fullmatch(name):
            raise ValueError("must be a repository such as owner/name")
        return name


class GitHubApi(IssueApi):
    """GitHub's requests and answers."""

    title_length_max: ClassVar[int] = 250
    """Below GitHub's 256: there is room where it counts otherwise than we do."""
    body_length_max: ClassVar[int] = 60_000
    """Below GitHub's 65,536, for the same reason."""
    service_name: ClassVar[str] = "GitHub"
    project_word: ClassVar[str] = "repository"

    @property
    def project(self) -> str:
        """The repository, `owner/name`."""
        return str(self.settings.repository)

    def key(self, target: Target) -> str:
        """Return `owner/name#7`."""
        return f"{self.project}#{target.number}"

    # --- requests ---------------------------------------------------------------------------------

    def create(self, payload: Mapping[str, Json]) -> HttpRequest:
        """Return the request for https://docs.github.com/en/rest/issues/issues#create-an-issue."""
        return self._call("POST", "/issues", {key: payload[key] for key in ("title", "body", "labels")})

    def steps(self, action: str, payload: Mapping[str, Json], target: Target) -> Sequence[Step]:
        """Return the requests of an action. A pull request takes comments as an issue does."""
        issue = f"/issues/{target.number}"
        if action == "comment":
            return [Step(self._call("POST", f"{issue}/comments", {"body": payload["body"]}))]
        if action == "close":
            return [Step(self._call("PATCH", issue, {"state": "closed", "state_reason": payload["reason"]}))]
        added = [Step(self._call("POST", f"{issue}/labels", {"labels": payload["add"]}))]
        removed = [
            Step(self._call("DELETE", f"{issue}/labels/{quote(label, safe='')}"), done=_NOT_FOUND)
            for label in payload["remove"]
        ]
        return [*(added if payload["add"] else []), *removed]

    def read(self, target: Target) -> HttpRequest:
        """Return the request for one issue."""
        return self._call("GET", f"/issues/{target.number}")

    def issues(self, since: str, page: int) -> HttpRequest:
        """Return a page of the issues changed since then, newest first. Not by label: GitHub drops labels silently."""
        query = {
            "state": "all",
            "since": since,
            "sort": "created",
            "direction": "desc",
            "per_page": PAGE_SIZE,
            "page": page,
        }
        return self._call("GET", f"/issues?{urlencode(query)}")

    def comments(self, target: Target, since: str, page: int) -> HttpRequest:
        """Return a page of the comments changed since then."""
        query = {"since": since, "per_page": PAGE_SIZE, "page": page}
        return self._call("GET", f"/issues/{target.number}/comments?{urlencode(query)}")

    def project_request(self) -> HttpRequest:
        """Return the request for the repository."""
        return self._call("GET", "")

    def projects_request(self) -> HttpRequest:
        """Return the request for the repositories the token sees, those last pushed to first."""
        url = f"{self.settings.base_url}/user/repos?sort=pushed&per_page={PAGE_SIZE}"
        return HttpRequest("GET", url, self._headers())

    def user_request(self) -> HttpRequest:
        """Return the request for https://docs.github.com/en/rest/users/users#get-the-authenticated-user."""
        return HttpRequest("GET", f"{self.settings.base_url}/user", self._headers())

    def _call(self, method: str, path: str, body: Mapping[str, Json] | None = None) -> HttpRequest:
        url, headers = f"{self.settings.base_url}/repos/{self.project}{path}", self._headers()
        if body is None:
            return HttpRequest(method, url, headers)
        headers["content-type"] = "application/json"
        return HttpRequest(method, url, headers, orjson.dumps(body))

    def _headers(self) -> dict[str, str]:
        return {
            "authorization": f"Bearer {self.token}",
            "accept": "application/vnd.github+json",
            "x-github-api-version": API_VERSION,
        }

    # --- answers ----------------------------------------------------------------------------------

    def judge(self, response: HttpResponse, *, creates: bool = False) -> Outcome:
        """Judge an answer by https://docs.github.com/en/rest/using-the-rest-api/troubleshooting-the-rest-api."""
        now_ms = self.clock.now()
        wait = limit_wait_s(response, now_ms)
        if wait is not None:
            reason = f"GitHub limits the requests ({response.status}){said_of(response)}"
            return Retry(reason, response.status, excerpt(response), wait, counts=False, holds_connector=True)
        return self.refusal(response) or judge_status(response, now_ms, creates=creates)

    def link_of(self, answer: Mapping[str, Json]) -> Link | None:
        """Return the link to an issue; None for pull requests, which the lists hold too."""
        number, url = answer.get("number"), answer.get("html_url")
        if not isinstance(number, int) or "pull_request" in answer:
            return None
        return Link(
            "",
            external_id=str(number),
            external_key=f"{self.project}#{number}",
            url=url if isinstance(url, str) else None,
            state="linked",
            last_state="closed" if answer.get("state") == "closed" else "open",
        )

    def text_of(self, answer: Mapping[str, Json]) -> Json:
        """Return the text of an issue or comment."""
        return answer.get("body")

    def is_locked(self, answer: Mapping[str, Json]) -> bool:
        """Return whether an issue takes no comments."""
        return answer.get("locked") is True

    def merge_number(self, value: Json) -> str | None:
        """Return the pull request's number: of `12`, `"#12"` or `https://github.com/owner/name/pull/12`."""
        found = _PULL.fullmatch(str(value).strip()) if isinstance(value, (int, str)) else None
        if found is None or (found[1] is not None and found[1].lower() != self.project.lower()):
            return None
        return found[2]

    def project_check(self, answer: Mapping[str, Json]) -> Check:
        """Return whether the repository keeps issues and takes changes."""
        name = answer.get("full_name")
        if answer.get("archived") is True:
            return Check(ok=False, message=f"{name} is archived: it takes no changes")
        if answer.get("has_issues") is False:
            return Check(ok=False, message=f"{name} has no issues: switch them on in its settings")
        permissions: Any = answer.get("permissions")
        may_label = isinstance(permissions, dict) and any(
            permissions.get(right) is True for right in ("triage", "push", "maintain", "admin")
        )
        note = "" if may_label else "; without triage or write access GitHub leaves labels out"
        return Check(ok=True, message=f"the token reads {name}{note}; nothing was written")

    def user_of(self, answer: Mapping[str, Json]) -> Identity | None:
        """Return login and id. A personal token is its person's; an app's cannot ask."""
        return named(answer, "login", "id", is_bot=answer.get("type") == "Bot")

    def project_name(self, answer: Mapping[str, Json]) -> Json:
        """Return `owner/name`."""
        return answer.get("full_name")


def limit_wait_s(response: HttpResponse, now_ms: int) -> float | None:
    """Return how long GitHub's limits ask to wait, in seconds; None where the answer is not about limits.

    They come as 429, as 403, and as 422 where texts are made too quickly.

    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    status, words = response.status, said(response).lower()
    wait = retry_after_s(response.headers, now_ms) if status in {403, 429} else None
    if wait is not None:
        return wait
    if status == 403 and response.headers.get("x-ratelimit-remaining") == "0":  # noqa: PLR2004 - forbidden
        return _until_reset_s(response, now_ms)
    limited = (
        status == 429  # noqa: PLR2004 - too many requests
        or (status == 403 and "secondary rate limit" in words)  # noqa: PLR2004
        or (status == 422 and "submitted too quickly" in words)  # noqa: PLR2004 - validation failed
    )
    return _until_reset_s(response, now_ms) if limited else None


def _until_reset_s(response: HttpResponse, now_ms: int) -> float:
    """Return the seconds until the hour's budget is new, where that is what is used up, or what GitHub asks for."""
    if response.headers.get("x-ratelimit-remaining") != "0":
        return SECONDARY_LIMIT_WAIT_S
    return until_reset_s(response.headers.get("x-ratelimit-reset", ""), now_ms) or SECONDARY_LIMIT_WAIT_S


class GitHubConnector(IssueConnector):
    """Keeps one issue per task in one repository."""

    service: ClassVar[str] = "github"
    settings_model: ClassVar[type[IssueSettings]] = GitHubSettings
    api_class: ClassVar[type[IssueApi]] = GitHubApi
