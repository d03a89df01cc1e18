"""Requests to one Jira site, and the names that exist there. Which answers are good is judged elsewhere."""

import base64
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import orjson

from ralf_hub.connectors.base import Http, HttpRequest, NotSentError, UnknownAnswerError
from ralf_hub.connectors.objects import listed
from ralf_hub.model import Json

ISSUES: Final = "/rest/api/3/issue"
SEARCH: Final = "/rest/api/3/search/jql"
MYSELF: Final = "/rest/api/3/myself"
PROJECTS: Final = "/rest/api/3/project"
PROJECTS_READ: Final = 50
ANSWER_BYTES_MAX: Final = 8 << 20
"""A project is answered with all its versions and components, an issue with all ways on, comments as long as may be."""


class JiraSite:
    """A site and the account that calls it. Its repr shows neither address nor token."""

    def __init__(self, base_url: str, email: str, api_token: str) -> None:
        self._base_url = base_url
        self._headers = {
            "accept": "application/json",
            "authorization": f"Basic {basic(email, api_token)}",
        }

    def call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Json = None
    ) -> HttpRequest:
        """Return a request with the account's credentials."""
        url = f"{self._base_url}{path}" + (f"?{urlencode(query)}" if query else "")
        if body is None:
            return HttpRequest(method, url, self._headers, response_bytes_max=ANSWER_BYTES_MAX)
        headers = {**self._headers, "content-type": "application/json"}
        return HttpRequest(method, url, headers, orjson.dumps(body))

    def browse(self, key: str | None) -> str | None:
        """Return where people see an issue; None behind the gateway for scoped tokens, which does not say."""
        if key is None or "/ex/jira/" in self._base_url:
            return None
        return f"{self._base_url}/browse/{quote(key, safe='-')}"

    def ask_project(self, key: str) -> HttpRequest:
        """Return the request for one project."""
        return self.call("GET", f"{PROJECTS}/{quote(key, safe='')}")

    async def projects(self, http: Http) -> list[str]:
        """Return the keys of the projects the account sees, the first of them where there are many."""
        query = {"maxResults": str(PROJECTS_READ), "orderBy": "key"}
        answer = (await http(self.call("GET", f"{PROJECTS}/search", query))).json()
        return _names(answer.get("values") if isinstance(answer, dict) else None, "key")

    async def names_for(self, wrong: Mapping[str, str], http: Http, project_key: str) -> str:
        """Return the names that exist where *wrong*, the fields Jira refused, has one that does not."""
        try:
            if "project" in wrong:
                return f"; projects the account sees: {listed(await self.projects(http))}"
            if "issuetype" in wrong:
                types = issue_types((await http(self.ask_project(project_key))).json())
                return f"; issue types of {project_key}: {listed(types)}"
        except (NotSentError, UnknownAnswerError):
            pass  # the refusal stands without them
        return ""


def issue_types(project: Json) -> list[str]:
    """Return the names of the issue types of a project as Jira answers it."""
    return _names(project.get("issueTypes") if isinstance(project, dict) else None, "name")


def basic(email: str, api_token: str) -> str:
    """Return account and token as HTTP's Basic scheme sends them."""
    return base64.b64encode(f"{email}:{api_token}".encode()).decode()


def _names(items: Json, member: str) -> list[str]:
    found = [item.get(member) for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return [name for name in found if isinstance(name, str)]
