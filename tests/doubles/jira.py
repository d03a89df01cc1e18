"""Enough of Jira Cloud's REST API v3: issues, comments, a workflow, and a search whose index lags behind.

    python -m tests.doubles.jira --port 0 --log FILE

Requests are held to Atlassian's own description; what it says nothing of (documents, labels, sign-in, the workflow)
is checked here. https://developer.atlassian.com/cloud/jira/platform/rest/v3/intro/
"""

import base64
import itertools
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.doubles.contract import Contract
from tests.doubles.server import Double, Log, Seen, arguments, serve

EMAIL, TOKEN, PROJECT = "ralf@example.org", "jira-token-0123456789", "RALF"
SUMMARY_LENGTH_MAX, TEXT_LENGTH_MAX = 255, 32_767
SEARCH_KEYS = frozenset({"jql", "fields", "maxResults", "nextPageToken", "reconcileIssues"})
ISSUE_KEYS = frozenset({"fields", "properties", "update", "transition", "historyMetadata"})
NODES = {"doc", "paragraph", "text", "hardBreak"}

STATUSES = {
    "To Do": "new",
    "In Progress": "indeterminate",
    "Blocked": "indeterminate",
    "Won't Do": "done",
    "Done": "done",
}
WORKFLOW: dict[str, dict[str, tuple[str, str]]] = {
    "To Do": {"11": ("Start", "In Progress"), "12": ("Decline", "Won't Do")},
    "In Progress": {
        "21": ("Stop", "To Do"),
        "22": ("Block", "Blocked"),
        "23": ("Decline", "Won't Do"),
        "24": ("Finish", "Done"),
    },
    "Blocked": {"31": ("Unblock", "In Progress")},
    "Won't Do": {"41": ("Reopen", "To Do")},
    "Done": {"51": ("Reopen", "To Do")},
}
"""From each status the transitions: id to name and status."""

_STRING = {"schema": {"type": "string"}}
_NOT_DESCRIBED: dict[str, Any] = {
    "/rest/api/3/project/search": {
        "get": {
            "parameters": [
                {"name": "maxResults", "in": "query", "schema": {"type": "integer", "maximum": 100}},
                {"name": "orderBy", "in": "query", "schema": {"enum": ["key", "name"]}},
            ],
            "responses": {"200": {"description": "projects"}},
        }
    },
    "/rest/api/3/project/{projectIdOrKey}": {
        "get": {
            "parameters": [{"name": "projectIdOrKey", "in": "path", "required": True, **_STRING}],
            "responses": {"200": {"description": "a project"}},
        }
    },
}
CONTRACT = Contract("jira/trimmed.json", "https://your-domain.atlassian.net", _NOT_DESCRIBED)


class JiraError(Exception):
    """What Jira answers with a status and its own words."""

    def __init__(self, status: int, message: str = "", **errors: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"errorMessages": [message] if message else [], "errors": errors}


@dataclass(slots=True)
class Issue:
    """One issue."""

    id: str
    key: str
    fields: dict[str, Any]
    properties: dict[str, Any]
    made_ms: int
    status: str = "To Do"
    comments: list[dict[str, Any]] = field(default_factory=list)
    links: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        return list(self.fields.get("labels", []))


class Jira(Double):
    """A site with one account and one project."""

    def __init__(self, log: Log | None = None, now: Callable[[], int] | None = None) -> None:
        super().__init__()
        self.issues: dict[str, Issue] = {}
        self.projects: dict[str, list[str]] = {PROJECT: ["Task", "Bug"], "OPS": ["Task"]}
        self.workflow = {status: dict(offers) for status, offers in WORKFLOW.items()}
        self.index_lag_ms = 20_000
        self.padding = ""
        """How much a project has to tell besides what is asked for."""
        self.now = now or (lambda: time.time_ns() // 1_000_000)
        self._log = log or Log(None)
        self._numbers = itertools.count(1)

    def violation(self, seen: Seen) -> str | None:
        return CONTRACT.violation(seen)

    def routes(self) -> list[web.RouteDef]:
        api, issue = "/rest/api/3", "/rest/api/3/issue/{key}"
        return [
            web.get(f"{api}/myself", self._guarded(self._myself)),
            web.get(f"{api}/project/search", self._guarded(self._project_search)),
            web.get(f"{api}/project/{{key}}", self._guarded(self._project)),
            web.post(f"{api}/issue", self._guarded(self._create)),
            web.post(f"{api}/search/jql", self._guarded(self._search)),
            web.get(issue, self._guarded(self._issue)),
            web.put(issue, self._guarded(self._edit)),
            web.get(f"{issue}/transitions", self._guarded(self._transitions)),
            web.post(f"{issue}/transitions", self._guarded(self._move)),
            web.get(f"{issue}/comment", self._guarded(self._comments)),
            web.post(f"{issue}/comment", self._guarded(self._comment)),
            web.post(f"{issue}/remotelink", self._guarded(self._remote_link)),
        ]

    def _guarded(self, answer: Callable[[web.Request, Any], tuple[int, Any]]) -> Any:
        async def handle(request: web.Request) -> web.Response:
            try:
                self._authorize(request)
                body = json.loads(await request.read() or "null")
                status, said = answer(request, body)
            except JiraError as error:
                return web.json_response(error.body, status=error.status)
            return web.json_response(said, status=status) if said is not None else web.Response(status=status)

        return handle

    @staticmethod
    def _authorize(request: web.Request) -> None:
        expected = base64.b64encode(f"{EMAIL}:{TOKEN}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {expected}":
            raise JiraError(401, "Client must be authenticated to access this resource.")
        if request.headers.get("Accept") != "application/json":
            raise JiraError(406, "Accept must be application/json")

    # --- site and projects ------------------------------------------------------------------------

    def _myself(self, _request: web.Request, _body: Any) -> tuple[int, Any]:
        return 200, {
            "accountId": "712020:ralf",
            "displayName": "Ralf",
            "accountType": "atlassian",
            "emailAddress": EMAIL,
        }

    def _project_search(self, _request: web.Request, _body: Any) -> tuple[int, Any]:
        return 200, {"values": [{"key": key, "name": key.title()} for key in sorted(self.projects)]}

    def _project(self, request: web.Request, _body: Any) -> tuple[int, Any]:
        key = request.match_info["key"]
        if key not in self.projects:
            raise JiraError(404, f"No project could be found with key '{key}'.")
        types = [{"id": str(n), "name": name} for n, name in enumerate(self.projects[key], 10_001)]
        about = {"id": "10000", "key": key, "name": key.title(), "description": self.padding}
        return 200, {**about, "issueTypes": types}

    # --- issues -----------------------------------------------------------------------------------

    def _create(self, _request: web.Request, body: Any) -> tuple[int, Any]:
        fields = body.get("fields", {})
        if set(body) - ISSUE_KEYS:
            raise JiraError(400, "unknown members")
        project = fields.get("project", {}).get("key")
        if project not in self.projects:
            raise JiraError(400, project="valid project is required")
        if fields.get("issuetype", {}).get("name") not in self.projects[project]:
            raise JiraError(400, issuetype="Specify a valid issue type")
        summary = fields.get("summary")
        if not isinstance(summary, str) or not summary.strip():
            raise JiraError(400, summary="You must specify a summary of the issue.")
        if len(summary) > SUMMARY_LENGTH_MAX or "\n" in summary:
            raise JiraError(400, summary="The summary is invalid because it contains newline characters.")
        check_document(fields.get("description"))
        if any(not label or " " in label or len(label) > 255 for label in fields.get("labels", [])):
            raise JiraError(400, labels="The label can't contain spaces.")
        number = next(self._numbers)
        properties = {item["key"]: item["value"] for item in body.get("properties", [])}
        issue = Issue(str(10_000 + number), f"{project}-{number}", dict(fields), properties, self.now())
        self.issues[issue.id] = issue
        self._log({"created": issue.key, "labels": issue.labels})
        return 201, {"id": issue.id, "key": issue.key, "self": f"{self.url}/rest/api/3/issue/{issue.id}"}

    def _found(self, request: web.Request) -> Issue:
        key = request.match_info["key"]
        for issue in self.issues.values():
            if key in {issue.id, issue.key}:
                return issue
        raise JiraError(404, "Issue does not exist or you do not have permission to see it.")

    def _issue(self, request: web.Request, _body: Any) -> tuple[int, Any]:
        issue = self._found(request)
        shown = {"status": shown_status(issue.status), "labels": issue.labels}
        asked = request.query.get("fields", "").split(",")
        return 200, {
            "id": issue.id,
            "key": issue.key,
            "fields": {k: v for k, v in shown.items() if k in asked},
        }

    def _edit(self, request: web.Request, body: Any) -> tuple[int, Any]:
        issue = self._found(request)
        if set(body) != {"update"} or set(body["update"]) != {"labels"}:
            raise JiraError(400, "only labels are edited here")
        labels = issue.labels
        for operation in body["update"]["labels"]:
            ((verb, label),) = operation.items()
            if verb == "add" and label not in labels:
                labels.append(label)
            elif verb == "remove" and label in labels:
                labels.remove(label)
        issue.fields["labels"] = labels
        return 204, None

    def _search(self, _request: web.Request, body: Any) -> tuple[int, Any]:
        if set(body) - SEARCH_KEYS:
            raise JiraError(400, "Invalid request payload.")
        if not body.get("fields"):
            raise JiraError(400, "fields must be given")
        asked = re.fullmatch(r'labels = "([^"\\ ]+)" ORDER BY created ASC', body.get("jql", ""))
        if asked is None:
            raise JiraError(400, "Error in the JQL Query.")
        found = [
            {"id": issue.id, "key": issue.key, "fields": {"status": shown_status(issue.status)}}
            for issue in self.issues.values()
            if asked[1] in issue.labels and self.now() - issue.made_ms >= self.index_lag_ms
        ]
        return 200, {"issues": found[: body.get("maxResults", 50)], "isLast": True}

    # --- workflow ---------------------------------------------------------------------------------

    def _transitions(self, request: web.Request, _body: Any) -> tuple[int, Any]:
        issue = self._found(request)
        offers = self.workflow.get(issue.status, {}).items()
        return 200, {
            "transitions": [{"id": n, "name": name, "to": shown_status(to)} for n, (name, to) in offers]
        }

    def _move(self, request: web.Request, body: Any) -> tuple[int, Any]:
        issue = self._found(request)
        offer = self.workflow.get(issue.status, {}).get(body.get("transition", {}).get("id"))
        if offer is None:
            raise JiraError(400, "It seems that you have tried to perform an illegal workflow operation.")
        issue.status = offer[1]
        self._log({"moved": issue.key, "to": issue.status})
        return 204, None

    # --- comments and links -----------------------------------------------------------------------

    def _comments(self, request: web.Request, _body: Any) -> tuple[int, Any]:
        issue = self._found(request)
        newest_first = request.query.get("orderBy") == "-created"
        listed = issue.comments[::-1] if newest_first else issue.comments
        shown = [
            {k: v for k, v in item.items() if k != "properties" or "expand" in request.query}
            for item in listed[: int(request.query.get("maxResults", 50))]
        ]
        return 200, {"comments": shown, "total": len(listed), "startAt": 0, "maxResults": 50}

    def _comment(self, request: web.Request, body: Any) -> tuple[int, Any]:
        issue = self._found(request)
        check_document(body.get("body"))
        if not body["body"]["content"]:
            raise JiraError(400, comment="Comment body can not be empty!")
        comment = {"id": str(next(self._numbers)), **body}
        issue.comments.append(comment)
        self._log({"commented": issue.key, "text": text_of(body["body"])})
        return 201, comment

    def _remote_link(self, request: web.Request, body: Any) -> tuple[int, Any]:
        issue = self._found(request)
        if not body.get("object", {}).get("url") or not body["object"].get("title"):
            raise JiraError(400, "object needs url and title")
        known = body["globalId"] in issue.links
        issue.links[body["globalId"]] = body["object"]
        return (200 if known else 201), {"id": 10_000, "self": f"{self.url}/remotelink/10000"}


def shown_status(name: str) -> dict[str, Any]:
    return {"name": name, "id": str(list(STATUSES).index(name)), "statusCategory": {"key": STATUSES[name]}}


def text_of(node: Mapping[str, Any]) -> str:
    """Return the words of a document, a line per paragraph."""
    if node["type"] == "text":
        return str(node["text"])
    if node["type"] == "hardBreak":
        return "\n"
    parts = [text_of(child) for child in node.get("content", [])]
    return "\n".join(parts) if node["type"] == "doc" else "".join(parts)


def check_document(document: Any) -> None:
    """Refuse what is no ADF: https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/."""
    match document:
        case {"type": "doc", "version": 1, "content": list(blocks), **rest} if not rest:
            if len(text_of(document)) > TEXT_LENGTH_MAX:
                raise JiraError(400, "CONTENT_LIMIT_EXCEEDED")
            for block in blocks:
                _check_paragraph(block)
        case _:
            raise JiraError(400, "Operation value must be an Atlassian Document")


def _check_paragraph(block: Any) -> None:
    match block:
        case {"type": "paragraph", "content": list(nodes), **rest} if nodes and not rest:
            for node in nodes:
                _check_inline(node)
        case _:
            raise JiraError(400, "INVALID_INPUT")


def _check_inline(node: Any) -> None:
    match node:
        case {"type": "hardBreak", **rest} if not rest:
            return
        case {"type": "text", "text": str(words), **rest} if (
            words and "\n" not in words and set(rest) <= {"marks"}
        ):
            for mark in rest.get("marks", []):
                if mark["type"] not in {"strong", "link"} or (
                    mark["type"] == "link" and not re.match("https?://", mark["attrs"]["href"])
                ):
                    raise JiraError(400, "INVALID_INPUT")
        case _:
            raise JiraError(400, "INVALID_INPUT")


if __name__ == "__main__":
    given_arguments = arguments(str(__doc__)).parse_args()
    serve(Jira(Log(given_arguments.log)), given_arguments.port)
