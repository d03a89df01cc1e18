"""Enough of GitLab's REST API to keep issues in one project, strict where GitLab is.

    python -m tests.doubles.gitlab --port 0 --log FILE

Requests about issues are held to a description made by GitLab's community; it has nothing on notes and merge
requests, whose paths stand here (`MORE`) after https://docs.gitlab.com/api/notes/.
"""

from typing import Any

from aiohttp import web

from tests.doubles.contract import Contract
from tests.doubles.server import Double, Log, Seen, arguments, serve
from tests.doubles.tracker import Comment, Issue, Tracker

TOKEN = "glpat-0123456789abcdefghij"
PROJECT, PROJECT_ID = "harbour/village", 4711
OTHERS = ("harbour/lighthouse", "harbour/tides")
TITLE_LENGTH_MAX, BODY_LENGTH_MAX = 255, 1_048_576

_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_IID = {"name": "iid", "in": "path", "required": True, "schema": {"type": "integer"}}
_OK = {"200": {"description": "done"}}
_LISTED = [
    {"name": "order_by", "in": "query", "schema": {"enum": ["created_at", "updated_at"]}},
    {"name": "sort", "in": "query", "schema": {"enum": ["asc", "desc"]}},
    {"name": "per_page", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100}},
    {"name": "page", "in": "query", "schema": {"type": "integer", "minimum": 1}},
]
_NOTE = {
    "type": "object",
    "properties": {"body": {"type": "string", "minLength": 1, "maxLength": BODY_LENGTH_MAX}},
    "required": ["body"],
    "additionalProperties": False,
}
_NOTES = {
    "get": {"parameters": [_ID, _IID, *_LISTED], "responses": _OK},
    "post": {
        "parameters": [_ID, _IID],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _NOTE}}},
        "responses": _OK,
    },
}
MORE = {
    "/v4/user": {"get": {"responses": _OK}},
    "/v4/projects/{id}/issues/{iid}/notes": _NOTES,
    "/v4/projects/{id}/merge_requests/{iid}/notes": _NOTES,
    "/v4/projects/{id}/merge_requests/{iid}": {"get": {"parameters": [_ID, _IID], "responses": _OK}},
}


class GitLab(Double):
    """GitLab with one project and one token."""

    def __init__(self, log: Log | None = None, tracker: Tracker | None = None) -> None:
        super().__init__()
        self.tracker = tracker or Tracker()
        self.moved = False
        self._log = log or Log(None)
        self._contract = Contract("gitlab/community-gitlab-issues.json", "https://gitlab.com", MORE)

    def violation(self, seen: Seen) -> str | None:
        return self._contract.violation(seen)

    def routes(self) -> list[web.RouteDef]:
        project = "/api/v4/projects/{id}"
        issue, merge = f"{project}/issues/{{iid:[0-9]+}}", f"{project}/merge_requests/{{merge:[0-9]+}}"
        return [
            web.get("/api/v4/user", self._checked(self._user)),
            web.get("/api/v4/projects", self._checked(self._projects)),
            web.get(project, self._checked(self._project)),
            web.get(f"{project}/issues", self._checked(self._list)),
            web.post(f"{project}/issues", self._checked(self._create)),
            web.get(issue, self._checked(self._read)),
            web.put(issue, self._checked(self._change)),
            web.get(merge, self._checked(self._read)),
            *(web.get(f"{path}/notes", self._checked(self._notes)) for path in (issue, merge)),
            *(web.post(f"{path}/notes", self._checked(self._note)) for path in (issue, merge)),
        ]

    def _checked(self, handler: Any) -> Any:
        """Let in only what GitLab lets in."""

        async def handle(request: web.Request) -> web.Response:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}" or self.tracker.revoked:
                return _refuse(401, "401 Unauthorized")
            if "id" in request.match_info:
                if self.moved:
                    return web.Response(status=301, headers={"Location": "https://gitlab.com/elsewhere"})
                if request.match_info["id"] not in {PROJECT, str(PROJECT_ID)} or self.tracker.hidden:
                    return _refuse(404, "404 Project Not Found")
                if request.method != "GET" and (self.tracker.archived or not self.tracker.has_issues):
                    return _refuse(403, "403 Forbidden")
            answer: web.Response = await handler(request)
            return answer

        return handle

    # --- the project ------------------------------------------------------------------------------

    async def _user(self, _: web.Request) -> web.Response:
        return web.json_response({"username": "project_4711_bot_0a1b", "id": 4712, "bot": True})

    async def _projects(self, _: web.Request) -> web.Response:
        return web.json_response([{"path_with_namespace": name} for name in (*OTHERS, PROJECT)])

    async def _project(self, _: web.Request) -> web.Response:
        shown = {"id": PROJECT_ID, "path_with_namespace": PROJECT, "archived": self.tracker.archived}
        return web.json_response({**shown, "issues_enabled": self.tracker.has_issues})

    # --- issues -----------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        issues = [issue for issue in self.tracker.made if not issue.deleted]
        issues = [issue for issue in issues if issue.created_at[:19] >= query.get("created_after", "")[:19]]
        newest_first = query.get("sort", "desc") == "desc"
        issues.sort(key=lambda issue: (issue.created_at, issue.number), reverse=newest_first)
        page, more = self.tracker.page(issues, query, 20)
        return web.json_response([_shown(issue) for issue in page], headers=more)

    async def _create(self, request: web.Request) -> web.Response:
        given = await request.json()
        title = str(given["title"])
        if not title.strip():
            return _refuse(400, {"title": ["can't be blank"]})
        if len(title) > TITLE_LENGTH_MAX:
            return _refuse(400, {"title": ["is too long (maximum is 255 characters)"]})
        if len(given.get("description", "")) > BODY_LENGTH_MAX:
            return _refuse(400, {"description": ["is too long (maximum is 1048576 characters)"]})
        issue = self.tracker.add(title, given.get("description", ""), given.get("labels", []))
        self._log({"action": "create", "number": issue.number, "title": issue.title})
        return web.json_response(_shown(issue), status=201)

    async def _read(self, request: web.Request) -> web.Response:
        issue = self._found(request)
        return _refuse(404, "404 Not found") if issue is None else web.json_response(_shown(issue))

    async def _change(self, request: web.Request) -> web.Response:
        issue = self._found(request)
        if issue is None:
            return _refuse(404, "404 Issue Not Found")
        given = await request.json()
        if not given:
            return _refuse(
                400, "title, description, ... are missing, at least one parameter must be provided"
            )
        if (state := given.get("state_event")) is not None:
            if state not in {"close", "reopen"}:
                return _refuse(400, "state_event does not have a valid value")
            issue.state = "closed" if state == "close" else "open"
            self._log({"action": "close", "number": issue.number})
        gone = given.get("remove_labels", [])
        issue.labels = [label for label in issue.labels if label not in gone]
        issue.labels += [label for label in given.get("add_labels", []) if label not in issue.labels]
        return web.json_response(_shown(issue))

    # --- notes ------------------------------------------------------------------------------------

    async def _notes(self, request: web.Request) -> web.Response:
        issue = self._found(request)
        if issue is None:
            return _refuse(404, "404 Not found")
        query = request.query
        listed = sorted(
            issue.comments,
            key=lambda note: (note.created_at, note.number),
            reverse=query.get("sort") == "desc",
        )
        page, more = self.tracker.page(listed, query, 20)
        return web.json_response([_note_shown(note) for note in page], headers=more)

    async def _note(self, request: web.Request) -> web.Response:
        issue = self._found(request)
        if issue is None:
            return _refuse(404, "404 Not found")
        if issue.locked:
            return _refuse(403, "403 Forbidden")
        note = self.tracker.comment(issue, (await request.json())["body"])
        self._log({"action": "comment", "number": issue.number})
        return web.json_response(_note_shown(note), status=201)

    def _found(self, request: web.Request) -> Issue | None:
        number = request.match_info.get("iid") or request.match_info["merge"]
        issue = self.tracker.find(int(number))
        return issue if issue is not None and issue.merges == ("merge" in request.match_info) else None


def _shown(issue: Issue) -> dict[str, Any]:
    return {
        "id": 2_000_000 + issue.number,
        "iid": issue.number,
        "project_id": PROJECT_ID,
        "title": issue.title,
        "description": issue.body or None,
        "state": "closed" if issue.state == "closed" else "opened",
        "discussion_locked": issue.locked or None,
        "labels": issue.labels,
        "web_url": f"https://gitlab.com/{PROJECT}/-/issues/{issue.number}",
        "created_at": issue.created_at,
        "updated_at": issue.updated_at,
    }


def _note_shown(note: Comment) -> dict[str, Any]:
    return {"id": note.number, "body": note.body, "created_at": note.created_at, "system": False}


def _refuse(status: int, message: Any) -> web.Response:
    return web.json_response({"message": message}, status=status)


if __name__ == "__main__":
    given = arguments("A double of GitLab's issues.").parse_args()
    serve(GitLab(Log(given.log)), given.port)
