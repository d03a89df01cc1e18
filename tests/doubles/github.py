"""Enough of GitHub's REST API to keep issues in one repository, strict where GitHub is.

    python -m tests.doubles.github --port 0 --log FILE

Every request is held to GitHub's own description (see `contract.py`). What it does and refuses follows
https://docs.github.com/en/rest/issues.
"""

from typing import Any

from aiohttp import web

from tests.doubles.contract import Contract
from tests.doubles.server import Double, Log, Seen, arguments, serve
from tests.doubles.tracker import Comment, Issue, Tracker

TOKEN = "github_pat_11AAAAAAA0123456789"
REPOSITORY = "octo/village"
OTHERS = ("octo/lighthouse", "octo/tides")
TITLE_LENGTH_MAX, BODY_LENGTH_MAX, LABEL_LENGTH_MAX = 256, 65_536, 50

_OWNER = {"name": "owner", "in": "path", "required": True, "schema": {"type": "string"}}
_REPO = {"name": "repo", "in": "path", "required": True, "schema": {"type": "string"}}
_NUMBER = {"name": "issue_number", "in": "path", "required": True, "schema": {"type": "integer"}}
_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_OK = {"200": {"description": "done"}}
MORE = {
    # Not in the description the tests read: https://docs.github.com/en/rest/repos/repos and /issues/labels
    "/repos/{owner}/{repo}": {"get": {"parameters": [_OWNER, _REPO], "responses": _OK}},
    "/user": {"get": {"responses": _OK}},
    "/user/repos": {
        "get": {
            "parameters": [
                {
                    "name": "sort",
                    "in": "query",
                    "schema": {"enum": ["created", "updated", "pushed", "full_name"]},
                },
                {"name": "per_page", "in": "query", "schema": {"type": "integer", "maximum": 100}},
            ],
            "responses": _OK,
        }
    },
    "/repos/{owner}/{repo}/issues/{issue_number}/labels/{name}": {
        "delete": {"parameters": [_OWNER, _REPO, _NUMBER, _NAME], "responses": _OK}
    },
}


class GitHub(Double):
    """GitHub with one repository, one token and its user."""

    def __init__(self, log: Log | None = None, tracker: Tracker | None = None) -> None:
        super().__init__()
        self.tracker = tracker or Tracker()
        self.may_label = True
        self.user = {"login": "kai", "id": 7, "type": "User"}
        self.moved = False
        self._log = log or Log(None)
        self._contract = Contract("github/trimmed.json", "https://api.github.com", MORE)

    def violation(self, seen: Seen) -> str | None:
        return self._contract.violation(seen)

    def routes(self) -> list[web.RouteDef]:
        repo, issue = "/repos/{owner}/{repo}", "/repos/{owner}/{repo}/issues/{number:[0-9]+}"
        return [
            web.get("/user", self._checked(self._user)),
            web.get("/user/repos", self._checked(self._repositories)),
            web.get(repo, self._checked(self._repository)),
            web.get(f"{repo}/issues", self._checked(self._list)),
            web.post(f"{repo}/issues", self._checked(self._create)),
            web.get(issue, self._checked(self._read)),
            web.patch(issue, self._checked(self._change)),
            web.get(f"{issue}/comments", self._checked(self._comments)),
            web.post(f"{issue}/comments", self._checked(self._comment)),
            web.post(f"{issue}/labels", self._checked(self._label)),
            web.delete(f"{issue}/labels/{{name}}", self._checked(self._unlabel)),
        ]

    def _checked(self, handler: Any) -> Any:
        """Let in only what GitHub lets in."""

        async def handle(request: web.Request) -> web.Response:
            refused = self._refusal(request)
            answer: web.Response = refused if refused is not None else await handler(request)
            return answer

        return handle

    def _refusal(self, request: web.Request) -> web.Response | None:
        if not request.headers.get("User-Agent"):
            return _refuse(403, "Please make sure your request has a User-Agent header")
        if request.headers.get("X-GitHub-Api-Version") != "2022-11-28":
            return _refuse(400, "unknown API version")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or self.tracker.revoked:
            return _refuse(401, "Bad credentials")
        return self._repository_refusal(request) if "owner" in request.match_info else None

    def _repository_refusal(self, request: web.Request) -> web.Response | None:
        name = f"{request.match_info['owner']}/{request.match_info['repo']}"
        if self.moved:
            return _refuse(301, "Moved Permanently", Location="https://api.github.com/repositories/7")
        if name.lower() != REPOSITORY or self.tracker.hidden:
            return _refuse(404, "Not Found")
        if self.tracker.archived and request.method != "GET":
            return _refuse(403, "Repository was archived so is read-only.")
        return None

    # --- the repository ---------------------------------------------------------------------------

    async def _user(self, _: web.Request) -> web.Response:
        return web.json_response(self.user)

    async def _repositories(self, _: web.Request) -> web.Response:
        return web.json_response([{"full_name": name} for name in (*OTHERS, REPOSITORY)])

    async def _repository(self, _: web.Request) -> web.Response:
        rights = {"admin": False, "push": self.may_label, "pull": True, "triage": self.may_label}
        shown = {
            "full_name": REPOSITORY,
            "has_issues": self.tracker.has_issues,
            "archived": self.tracker.archived,
        }
        return web.json_response({**shown, "permissions": rights})

    # --- issues -----------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        issues = [issue for issue in (*self.tracker.made, self.tracker.merge) if not issue.deleted]
        state = query.get("state", "open")
        issues = [issue for issue in issues if state in {"all", issue.state}]
        issues = [issue for issue in issues if issue.updated_at[:19] >= query.get("since", "")[:19]]
        newest_first = query.get("direction", "desc") == "desc"
        issues.sort(key=lambda issue: (issue.created_at, issue.number), reverse=newest_first)
        page, more = self.tracker.page(issues, query, 30)
        return web.json_response([self._shown(issue) for issue in page], headers=more)

    async def _create(self, request: web.Request) -> web.Response:
        if not self.tracker.has_issues:
            return _refuse(410, "Issues are disabled for this repo")
        given = await request.json()
        if wrong := _wrong(given):
            return wrong
        labels = given.get("labels", []) if self.may_label else []
        issue = self.tracker.add(given["title"], given.get("body") or "", labels)
        self._log({"action": "create", "number": issue.number, "title": issue.title})
        return web.json_response(self._shown(issue), status=201)

    async def _read(self, request: web.Request) -> web.Response:
        issue, refused = self._found(request)
        return refused if issue is None else web.json_response(self._shown(issue))

    async def _change(self, request: web.Request) -> web.Response:
        issue, refused = self._found(request)
        if issue is None:
            return refused
        given = await request.json()
        if wrong := _wrong({"title": issue.title, **given}):
            return wrong
        issue.state, issue.reason = given.get("state", issue.state), given.get("state_reason", issue.reason)
        self._log({"action": "close", "number": issue.number})
        return web.json_response(self._shown(issue))

    # --- comments and labels ----------------------------------------------------------------------

    async def _comments(self, request: web.Request) -> web.Response:
        issue, refused = self._found(request)
        if issue is None:
            return refused
        since = request.query.get("since", "")[:19]
        listed = [comment for comment in issue.comments if comment.created_at[:19] >= since]
        query = request.query
        page, more = self.tracker.page(listed, query, 30)
        return web.json_response([_comment_shown(comment) for comment in page], headers=more)

    async def _comment(self, request: web.Request) -> web.Response:
        issue, refused = self._found(request)
        if issue is None:
            return refused
        if issue.locked:
            return _refuse(403, "Unable to create comment because issue is locked.")
        given = await request.json()
        if wrong := _wrong({"title": "x", **given}):
            return wrong
        comment = self.tracker.comment(issue, given["body"])
        self._log({"action": "comment", "number": issue.number})
        return web.json_response(_comment_shown(comment), status=201)

    async def _label(self, request: web.Request) -> web.Response:
        issue, refused = self._found(request)
        if issue is None:
            return refused
        given = await request.json()
        if wrong := _wrong({"title": "x", **given}):
            return wrong
        issue.labels += [label for label in given["labels"] if label not in issue.labels]
        return web.json_response([{"name": label} for label in issue.labels])

    async def _unlabel(self, request: web.Request) -> web.Response:
        issue, refused = self._found(request)
        if issue is None:
            return refused
        if request.match_info["name"] not in issue.labels:
            return _refuse(404, "Label does not exist")
        issue.labels.remove(request.match_info["name"])
        return web.json_response([{"name": label} for label in issue.labels])

    def _found(self, request: web.Request) -> tuple[Issue | None, web.Response]:
        number = int(request.match_info["number"])
        issue = self.tracker.find(number)
        deleted = number in self.tracker.issues
        return issue, _refuse(410, "This issue was deleted") if deleted else _refuse(404, "Not Found")

    def _shown(self, issue: Issue) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": 1_000_000 + issue.number,
            "number": issue.number,
            "title": issue.title,
            "body": issue.body or None,
            "state": issue.state,
            "state_reason": issue.reason,
            "locked": issue.locked,
            "labels": [{"name": label} for label in issue.labels],
            "html_url": f"https://github.com/{REPOSITORY}/issues/{issue.number}",
            "created_at": issue.created_at[:19] + "Z",
            "updated_at": issue.updated_at[:19] + "Z",
        }
        return {**shown, "pull_request": {"merged_at": None}} if issue.merges else shown


def _comment_shown(comment: Comment) -> dict[str, Any]:
    return {"id": comment.number, "body": comment.body, "created_at": comment.created_at[:19] + "Z"}


def _wrong(given: dict[str, Any]) -> web.Response | None:
    """Return GitHub's refusal of texts that are too long or empty."""
    errors = []
    if not str(given["title"]).strip():
        errors.append({"resource": "Issue", "field": "title", "code": "missing_field"})
    if len(str(given["title"])) > TITLE_LENGTH_MAX:
        errors.append(
            {
                "resource": "Issue",
                "field": "title",
                "code": "custom",
                "message": "title is too long (maximum is 256 characters)",
            }
        )
    if len(given.get("body") or "") > BODY_LENGTH_MAX:
        errors.append(
            {
                "resource": "Issue",
                "field": "body",
                "code": "custom",
                "message": "body is too long (maximum is 65536 characters)",
            }
        )
    if any(not label or len(label) > LABEL_LENGTH_MAX for label in given.get("labels", [])):
        errors.append({"resource": "Label", "field": "name", "code": "invalid"})
    if not errors:
        return None
    return web.json_response({"message": "Validation Failed", "errors": errors}, status=422)


def _refuse(status: int, message: str, **headers: str) -> web.Response:
    return web.json_response(
        {"message": message, "documentation_url": "https://docs.github.com"}, status=status, headers=headers
    )


if __name__ == "__main__":
    given = arguments("A double of GitHub's issues.").parse_args()
    serve(GitHub(Log(given.log)), given.port)
