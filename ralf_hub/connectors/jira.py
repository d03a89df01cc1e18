"""Jira Cloud: one issue per task, commented and moved through its workflow.

REST API v3, https://developer.atlassian.com/cloud/jira/platform/rest/v3/intro/. Jira has no idempotency key: an issue
carries a label of its own, and after a try with an unknown end it is searched for by that. The search runs on an
index that lags, so nothing is made again before it was looked for twice, with the lag in between.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final
from urllib.parse import quote

from ralf_hub.connectors import jira_plan
from ralf_hub.connectors.base import (
    Action,
    Ambiguous,
    Check,
    ConnectorEnv,
    ConnectorSettings,
    Delivered,
    Fact,
    Http,
    HttpRequest,
    HttpResponse,
    Identity,
    NotSentError,
    Outcome,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.identities import named
from ralf_hub.connectors.jira_answers import faults, is_jira, judge
from ralf_hub.connectors.jira_layout import label
from ralf_hub.connectors.jira_settings import JiraSettings
from ralf_hub.connectors.jira_site import ISSUES, MYSELF, SEARCH, JiraSite, issue_types
from ralf_hub.connectors.jira_workflow import Status, Target, choose, offers, where
from ralf_hub.connectors.lookups import Lookups
from ralf_hub.connectors.objects import (
    CREATE,
    SETTLE_S,
    ObjectConnector,
    listed,
    mark,
    too_early,
)
from ralf_hub.connectors.urls import place
from ralf_hub.connectors.wording import Worded
from ralf_hub.model import Delivery, Json, Link

INDEX_LAG_S: Final = 30.0
"""How far Jira's search may be behind: https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile/"""
COMMENTS_READ: Final = 50
HOPS_MAX: Final = 2


class JiraConnector(ObjectConnector):
    """Keeps one issue per task in one project."""

    service: ClassVar[str] = "jira"
    thing: ClassVar[str] = "issue"
    settings_model: ClassVar[type[ConnectorSettings]] = JiraSettings
    default_events: ClassVar[tuple[str, ...]] = (
        "task_created",
        "task_started",
        "task_completed",
        "task_failed",
        "task_cancelled",
        "feature_delivered",
    )

    def __init__(self, name: str, settings: JiraSettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        token = settings.api_token.get_secret_value()
        self._site = JiraSite(settings.base_url, settings.email, token)
        self._lookups = Lookups(env.clock, lag_s=INDEX_LAG_S)

    @staticmethod
    def escape(text: str) -> str:
        """Return *text* as it is: in a document's node nothing acts."""
        return text

    def destinations(self) -> frozenset[str]:
        """Return the project's place."""
        return frozenset({place(self.service, self.settings.base_url, self.settings.project_key)})

    # --- planning ---------------------------------------------------------------------------------

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return the actions of the table in `jira_plan`."""
        if fact.event.task_id is None:
            return jira_plan.feature_actions(fact, self._wording(fact))
        return super().plan(fact)

    def steps(self, fact: Fact) -> Sequence[str] | None:
        """Return the steps besides the issue itself."""
        return jira_plan.steps(self.settings.statuses, fact)

    def marker(self, fact: Fact) -> str:
        """Return the label the issue is found by."""
        return label(fact.event.id)

    def new_object(self, fact: Fact, worded: Worded, marker: str) -> Mapping[str, Json]:
        """Return the payload of `create`, which carries *marker* as a label."""
        del marker
        own = worded if fact.event.type == "task_created" else replace(worded, text=None)
        return jira_plan.issue(self.settings.labels, fact, own)

    def step(self, name: str, fact: Fact, worded: Worded) -> Mapping[str, Json]:
        """Return the payload of one step."""
        return jira_plan.step(name, fact, worded)

    # --- requests ---------------------------------------------------------------------------------

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest | None:
        """Return the first request of an action; None where there is no issue yet to make it for."""
        if delivery.action == CREATE:
            return self._creation(delivery)
        if context.link is None or context.link.external_id is None:
            return None
        return self._request(delivery, context.link)

    def _request(self, delivery: Delivery, link: Link) -> HttpRequest:
        match _step(delivery):
            case "comment":
                return self._site.call("POST", f"{_path(link)}/comment", body=delivery.payload)
            case "label":
                return self._site.call("PUT", _path(link), body=delivery.payload)
            case "link":
                return self._site.call("POST", f"{_path(link)}/remotelink", body=delivery.payload)
        return self._site.call("GET", _path(link), {"fields": "status,labels"})

    def _creation(self, delivery: Delivery) -> HttpRequest:
        own = {
            "project": {"key": self.settings.project_key},
            "issuetype": {"name": self.settings.default_issue_type},
        }
        payload = delivery.payload
        body = {"fields": {**own, **payload["fields"]}, "properties": payload["properties"]}
        return self._site.call("POST", ISSUES, body=body)

    def _judge(self, response: HttpResponse, *, creates: bool = False) -> Outcome:
        return judge(response, self.env.clock.now(), creates=creates)

    # --- creating ---------------------------------------------------------------------------------

    async def create(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Make the issue, unless an earlier try has."""
        if context.may_have_been_sent and not self._lookups.surely_absent(delivery.id):
            earlier = await self._find(delivery, context.http)
            if earlier is not None:
                return earlier
        self._lookups.forget(delivery.id)
        try:
            response = await context.http(self._creation(delivery))
        except NotSentError:
            self._lookups.note_absent(delivery.id)
            raise
        outcome = self._judge(response, creates=True)
        if isinstance(outcome, Delivered):
            link = self._link(delivery, response.json())
            if link is None:
                return Ambiguous("the answer names no issue", response.status, outcome.response, SETTLE_S)
            return replace(outcome, link=link)
        if not isinstance(outcome, Ambiguous):
            self._lookups.note_absent(delivery.id)
        if isinstance(outcome, Rejected):
            exist = await self._site.names_for(faults(response), context.http, self.settings.project_key)
            return replace(outcome, reason=f"{outcome.reason}{exist}")
        return outcome

    async def _find(self, delivery: Delivery, http: Http) -> Outcome | None:
        """Look for the issue of an earlier try. None: it is not there, and that is certain."""
        jql = f'labels = "{delivery.payload["marker"]}" ORDER BY created ASC'
        body = {"jql": jql, "fields": ["status"], "maxResults": 2}
        response = await http(self._site.call("POST", SEARCH, body=body))
        outcome = self._judge(response)
        if not isinstance(outcome, Delivered):
            return outcome
        answer = response.json()
        issues = answer.get("issues") if isinstance(answer, dict) else None
        if not isinstance(issues, list):
            return Retry("the search cannot be read", response.status, outcome.response)
        link = self._link(delivery, issues[0]) if issues else None
        if link is not None:
            return Delivered(response.status, "found: an earlier try had made it", link)
        if self._lookups.found_nothing(delivery.id):
            return None
        return Retry(
            "an earlier try may have made the issue; Jira's search does not show it yet, it is looked for again",
            response.status,
            outcome.response,
            retry_after_s=INDEX_LAG_S,
            counts=False,
        )

    def _link(self, delivery: Delivery, issue: Json) -> Link | None:
        """Return the link to *issue* as Jira answers it; None where it names none."""
        if not isinstance(issue, dict) or not isinstance(issue.get("id"), str):
            return None
        key = issue["key"] if isinstance(issue.get("key"), str) else None
        status = where(issue)
        return Link(
            self.name,
            issue["id"],
            key,
            self._site.browse(key),
            state="linked",
            last_state=None if status is None else status.name,
            marker=delivery.payload["marker"],
        )

    # --- updating ---------------------------------------------------------------------------------

    async def update(self, delivery: Delivery, context: SendContext, link: Link) -> Outcome:
        """Do one step on the issue."""
        match _step(delivery):
            case "transition":
                return await self._transition(delivery, context.http, link)
            case "comment":
                return await self._comment(delivery, context, link)
        # Labels and remote links are the same however often they are set.
        return self._judge_update(await context.http(self._request(delivery, link)), link)

    def _judge_update(self, response: HttpResponse, link: Link, *, creates: bool = False) -> Outcome:
        """Judge an answer about one issue: 404 in Jira's words means that it is gone for us."""
        outcome = self._judge(response, creates=creates)
        if isinstance(outcome, Rejected) and response.status == 404 and is_jira(response):  # noqa: PLR2004 - HTTP
            return self.lost(link, response, outcome.reason)
        return outcome

    async def _comment(self, delivery: Delivery, context: SendContext, link: Link) -> Outcome:
        early = too_early(delivery, context)
        if early is not None:
            return early
        if context.may_have_been_sent:
            query = {"orderBy": "-created", "maxResults": str(COMMENTS_READ), "expand": "properties"}
            request = self._site.call("GET", f"{_path(link)}/comment", query)
            response = await context.http(request)
            outcome = self._judge_update(response, link)
            if not isinstance(outcome, Delivered):
                return outcome
            if mark(delivery.event_id).encode() in response.body:
                return Delivered(response.status, "found: an earlier try had written it")
        response = await context.http(self._request(delivery, link))
        return self._judge_update(response, link, creates=True)

    async def _transition(self, delivery: Delivery, http: Http, link: Link) -> Outcome:
        """Move the issue, and take away the label of an earlier failure where work goes on or is done.

        What an issue can be moved to depends on where it stands and on its workflow's conditions: it is asked each
        time, never remembered.
        """
        target = jira_plan.target(self.settings.statuses, delivery.event_type)
        if target is None:
            return Delivered(response="the settings ask for no move any more")
        for _ in range(HOPS_MAX):
            issue = await self._ask(http, link, f"{_path(link)}?fields=status,labels")
            if not isinstance(issue, HttpResponse):
                return issue
            change = jira_plan.cleared(issue.json(), delivery.event_type)
            if change is not None:
                outcome = await self._put(http, link, change)
                if not isinstance(outcome, Delivered):
                    return outcome
            settled = await self._hop(http, link, target, where(issue.json()))
            if settled is not None:
                return settled
        return Rejected(f"{HOPS_MAX} transitions have not led to {target}")

    async def _hop(self, http: Http, link: Link, target: Target, status: Status | None) -> Outcome | None:
        """Take one transition; None where the issue moved and is still not where it is to go."""
        if status is not None and target.is_met_by(status):
            return Delivered(response=f"the issue is in {status.name}", link=_moved(link, status))
        answer = await self._ask(http, link, f"{_path(link)}/transitions")
        if not isinstance(answer, HttpResponse):
            return answer
        open_to_it = offers(answer.json())
        offer = choose(open_to_it, target, status)
        if offer is None:
            told = listed([offer.told for offer in open_to_it])
            return Rejected(f"no transition leads to {target}; from where the issue stands there are: {told}")
        body = {"transition": {"id": offer.id}}
        response = await http(self._site.call("POST", f"{_path(link)}/transitions", body=body))
        outcome = self._judge_update(response, link)
        if isinstance(outcome, Delivered):
            return replace(outcome, link=_moved(link, offer.to)) if target.is_met_by(offer.to) else None
        return outcome

    async def _put(self, http: Http, link: Link, change: Json) -> Outcome:
        return self._judge_update(await http(self._site.call("PUT", _path(link), body=change)), link)

    async def _ask(self, http: Http, link: Link, path: str) -> HttpResponse | Outcome:
        """Read something of an issue; an outcome where it cannot be read."""
        response = await http(self._site.call("GET", path))
        outcome = self._judge_update(response, link)
        return response if isinstance(outcome, Delivered) else outcome

    def ask_identity(self) -> HttpRequest:
        """Return the question whose token it is."""
        return self._site.call("GET", MYSELF)

    def read_identity(self, answer: Mapping[str, Json]) -> Identity | None:
        """Return the account."""
        return named(answer, "accountId", is_bot=answer.get("accountType") == "app")

    # --- checking ---------------------------------------------------------------------------------

    async def validate(self, http: Http) -> Check:
        """Ask who the account is, and whether project and issue type exist."""
        response = await http(self._site.call("GET", MYSELF))
        outcome = self._judge(response)
        who = response.json()
        if isinstance(outcome, Delivered) and isinstance(who, dict):
            wrong = await self._wrong_names(http)
            return Check(ok=not wrong, message=wrong or f"the token works: {who.get('displayName')}"[:200])
        reason = "no Jira answers there: check base_url" if isinstance(outcome, Delivered) else outcome.reason
        return Check(ok=False, message=reason)

    async def _wrong_names(self, http: Http) -> str:
        """Return what is wrong with project and issue type, and the names that exist; empty where nothing is."""
        key, kind = self.settings.project_key, self.settings.default_issue_type
        response = await http(self._site.ask_project(key))
        outcome = self._judge(response)
        if isinstance(outcome, Rejected):
            seen = listed(await self._site.projects(http))
            return f"there is no project {key!r} for this account; it sees {seen}"
        if not isinstance(outcome, Delivered):
            return outcome.reason
        types = issue_types(response.json())
        if kind.casefold() in {name.casefold() for name in types}:
            return ""
        return f"the project has no issue type {kind!r}; it has {listed(types)}"


def _step(delivery: Delivery) -> str:
    """Return the step: an event about several issues names its actions `comment:TASK`."""
    return delivery.action.partition(":")[0]


def _path(link: Link) -> str:
    return f"{ISSUES}/{quote(str(link.external_id), safe='')}"


def _moved(link: Link, status: Status) -> Link:
    return replace(link, state="linked", last_state=status.name)
