"""What GitHub and GitLab have in common: one issue per task, kept up to date and never made twice.

A service's own file says how its requests look and what its answers mean. Here is how they are used: what to look for
before a request is repeated that may have worked, and what it means when an issue is no longer there.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from ralf_hub.clock import MS_PER_S, iso, parse_iso
from ralf_hub.connectors import issue_plan, markdown
from ralf_hub.connectors.base import (
    Action,
    Ambiguous,
    Check,
    ConnectorEnv,
    CredentialsBroken,
    Delivered,
    Fact,
    Http,
    HttpRequest,
    HttpResponse,
    Identity,
    Outcome,
    Rejected,
    Retry,
    SendContext,
)
from ralf_hub.connectors.issue_api import PAGE_SIZE, IssueApi, IssueSettings, Target, said
from ralf_hub.connectors.issue_projects import Projects, ask
from ralf_hub.connectors.objects import CREATE, SETTLE_S, ObjectConnector, too_early
from ralf_hub.connectors.urls import place
from ralf_hub.connectors.wording import Worded
from ralf_hub.model import Delivery, Json, Link

FOUND: Final = "found: an earlier try had made it"
LOOK_UP_PAGES_MAX: Final = 20
LOOK_UP_BYTES_MAX: Final = 16 << 20
"""A page of texts that are all as long as they may be."""
LOOK_UP_SLACK_S: Final = 3600
"""How far the clocks of the service and of this machine may differ."""

_MISSING: Final = frozenset({301, 404, 410})
"""Moved, deleted, or not to be seen with this token."""


class IssueConnector(ObjectConnector):
    """Keeps one issue per task in one project."""

    thing: ClassVar[str] = "issue"
    api_class: ClassVar[type[IssueApi]]
    default_events: ClassVar[tuple[str, ...]] = (
        "task_started",
        "task_completed",
        "task_failed",
        "task_cancelled",
        "feature_delivered",
    )

    def __init__(self, name: str, settings: IssueSettings, env: ConnectorEnv) -> None:
        super().__init__(name, settings, env)
        self.api: IssueApi = self.api_class(settings, env.clock)
        self._projects = Projects(self.api, env.clock)
        self._tracker = issue_plan.Tracker(
            title_length_max=self.api.title_length_max,
            body_length_max=self.api.body_length_max,
            create_issues=settings.create_issues,
            labels=settings.labels,
            in_progress_label=settings.in_progress_label,
            failed_label=settings.failed_label,
        )

    def destinations(self) -> frozenset[str]:
        """Return the project's place; whose token is used makes no other place of it."""
        return frozenset({place(self.service, self.settings.base_url, self.api.project.lower())})

    # --- planning ---------------------------------------------------------------------------------

    @staticmethod
    def escape(text: str) -> str:
        """Return a value made harmless in Markdown."""
        return markdown.escape(text)

    def plan(self, fact: Fact) -> Sequence[Action]:
        """Return the actions of the table in `issue_plan`."""
        if fact.event.type == "feature_delivered":
            return issue_plan.feature_comments(
                self._tracker, fact, self._wording(fact), self.api.merge_number
            )
        return super().plan(fact)

    def steps(self, fact: Fact) -> Sequence[str] | None:
        """Return the steps besides the issue itself."""
        return issue_plan.steps(self._tracker, fact)

    def new_object(self, fact: Fact, worded: Worded, marker: str) -> Mapping[str, Json]:
        """Return the payload of `create`."""
        return issue_plan.issue(self._tracker, fact, worded, marker)

    def step(self, name: str, fact: Fact, worded: Worded) -> Mapping[str, Json]:
        """Return the payload of one step."""
        match name:
            case "comment":
                return issue_plan.comment(self._tracker, fact, worded)
            case "close":
                return {"reason": issue_plan.CLOSED_AS[fact.event.type]}
        return issue_plan.label_changes(self._tracker, fact) or {}

    def prepare(self, delivery: Delivery, context: SendContext) -> HttpRequest | None:
        """Return the action's first request; None where there is no issue yet to make it for."""
        if delivery.action == CREATE:
            return self.api.create(delivery.payload)
        exists = context.link is not None and context.link.external_id is not None
        if not exists and "merges" not in delivery.payload:
            return None
        target = _target(delivery, context.link)
        return self.api.steps(_step(delivery), delivery.payload, target)[0].request

    # --- an issue is made -------------------------------------------------------------------------

    async def create(self, delivery: Delivery, context: SendContext) -> Outcome:
        """Make the issue, or adopt the one an earlier try has made."""
        if context.may_have_been_sent:
            found = too_early(delivery, context) or await self._find_issue(delivery, context)
            if found is not None:
                return found
        response = await ask(context.http, self.api.create(delivery.payload))
        outcome = self.api.judge(response, creates=True)
        if not isinstance(outcome, Delivered):
            return await self._named(_given_time(outcome), response.status, context.http)
        answer = response.json()
        made = self.api.link_of(answer) if isinstance(answer, dict) else None
        if made is None:
            return Ambiguous("the answer names no issue", response.status, outcome.response, SETTLE_S)
        return replace(outcome, link=self._own(made, delivery))

    async def _find_issue(self, delivery: Delivery, context: SendContext) -> Outcome | None:
        """Look for the issue an earlier try may have made.

        Returns Delivered when it is there, None when it is not, and what stands in the way when looking must be tried
        again before anything is made.
        """
        since = _since(delivery)
        async for page in self._pages(context.http, lambda number: self.api.issues(since, number)):
            if not isinstance(page, list):
                return await self._named(page, page.status_code, context.http)
            links = [self.api.link_of(item) for item in page if self._carries(item, _mark(delivery))]
            made = [link for link in links if link is not None]
            if made:
                first = min(made, key=lambda link: int(link.external_id or 0))
                return Delivered(response=FOUND, link=self._own(first, delivery))
            if _ends_before(page, since):
                break
        return None

    def _own(self, link: Link, delivery: Delivery) -> Link:
        return replace(link, connector=self.name, marker=_mark(delivery))

    # --- an issue is changed ----------------------------------------------------------------------

    async def _send(self, delivery: Delivery, context: SendContext) -> Outcome:
        if "merges" in delivery.payload:  # what a feature was delivered with is no object of the hub's
            return await self.update(delivery, context, Link(self.name))
        return await super()._send(delivery, context)

    async def update(self, delivery: Delivery, context: SendContext, link: Link) -> Outcome:
        """Do one step; a comment is looked for before it is made again."""
        target = _target(delivery, link)
        if _step(delivery) == "comment" and context.may_have_been_sent:
            found = too_early(delivery, context) or await self._find_comment(delivery, target, context)
            if found is not None:
                return found
        status = None
        for step in self.api.steps(_step(delivery), delivery.payload, target):
            response = await context.http(step.request)
            status = response.status
            outcome = self.api.judge(response, creates=_step(delivery) == "comment")
            if not isinstance(outcome, Delivered) and response.status not in step.done:
                return await self._refused(_given_time(outcome), response, target, delivery, context)
        closed = _step(delivery) == "close"
        return Delivered(status, link=replace(link, state="linked", last_state="closed") if closed else None)

    # --- what is there already --------------------------------------------------------------------

    async def _find_comment(self, delivery: Delivery, target: Target, context: SendContext) -> Outcome | None:
        """Look for the comment an earlier try may have made; answers as `_find_issue` does."""
        since = _since(delivery)
        async for page in self._pages(context.http, lambda number: self.api.comments(target, since, number)):
            if not isinstance(page, list):
                # Where the issue itself is not there, the comment's own answer says so.
                return None if page.status_code in _MISSING else page
            if any(self._carries(item, _mark(delivery)) for item in page):
                return Delivered(response=FOUND)
            if self.api.comments_newest_first and _ends_before(page, since):
                break
        return None

    async def _pages(
        self, http: Http, request: Callable[[int], HttpRequest]
    ) -> AsyncIterator[list[dict[str, Json]] | Outcome]:
        """Yield the pages of a list up to a bound, or the verdict on the answer that was none."""
        for number in range(1, LOOK_UP_PAGES_MAX + 1):
            response = await ask(http, request(number), LOOK_UP_BYTES_MAX)
            outcome = self.api.judge(response)
            answer = response.json()
            if isinstance(outcome, Delivered) and not isinstance(answer, list):
                outcome = Retry("the list to look in cannot be read", response.status, outcome.response)
            if not isinstance(outcome, Delivered):
                yield outcome
                return
            yield [item for item in answer if isinstance(item, dict)]
            if len(answer) < PAGE_SIZE and 'rel="next"' not in response.headers.get("link", ""):
                return

    def _carries(self, item: Mapping[str, Json], mark: str) -> bool:
        text = self.api.text_of(item)
        return isinstance(text, str) and markdown.comment(mark) in text

    # --- what a refusal means ---------------------------------------------------------------------

    async def _refused(
        self,
        outcome: Outcome,
        response: HttpResponse,
        target: Target,
        delivery: Delivery,
        context: SendContext,
    ) -> Outcome:
        """Return *outcome*, made precise by a question: is it this issue, or the project, or the token."""
        if isinstance(outcome, CredentialsBroken) and _step(delivery) == "comment":
            answer = (await ask(context.http, self.api.read(target))).json()
            if isinstance(answer, dict) and self.api.is_locked(answer):
                return Rejected(f"{self.api.key(target)} is locked and takes no comments", response.status)
        if response.status in _MISSING:
            answer = await ask(context.http, self.api.project_request())
            project = self.api.judge(answer)
            if not isinstance(project, Delivered):
                return await self._named(project, answer.status, context.http)
            if context.link is not None and not target.merges:
                return self.lost(context.link, response, said(response) or f"{response.status}")
        return outcome

    async def _named(self, outcome: Outcome, status: int | None, http: Http) -> Outcome:
        """Return *outcome*; where the project was not found, name those that there are."""
        if status != 404 or not isinstance(outcome, Rejected):  # noqa: PLR2004 - not found
            return outcome
        return replace(outcome, reason=await self._projects.unknown(http))

    # --- who it is --------------------------------------------------------------------------------

    def ask_identity(self) -> HttpRequest | None:
        """Return the question whose token it is."""
        return self.api.user_request()

    def read_identity(self, answer: Mapping[str, Json]) -> Identity | None:
        """Return the token's user."""
        return self.api.user_of(answer)

    # --- checking ---------------------------------------------------------------------------------

    async def validate(self, http: Http) -> Check:
        """Read the project: whether it is there, keeps issues, and what the token may do."""
        response = await ask(http, self.api.project_request())
        outcome = self.api.judge(response)
        if response.status == 404:  # noqa: PLR2004 - not found
            return Check(ok=False, message=await self._projects.unknown(http))
        if not isinstance(outcome, Delivered):
            return Check(ok=False, message=outcome.reason)
        answer = response.json()
        if not isinstance(answer, dict):
            return Check(ok=False, message=f"the answer is not a {self.api.project_word}")
        return self.api.project_check(answer)


def _step(delivery: Delivery) -> str:
    """Return what is done, without what it is done to: `comment:12` is a comment."""
    return delivery.action.partition(":")[0]


def _target(delivery: Delivery, link: Link | None) -> Target:
    """Return what *delivery* is for: what its payload names, else what *link* stands for."""
    if "merges" in delivery.payload:
        return Target(str(delivery.payload["merges"]), merges=True)
    return Target("" if link is None else str(link.external_id))


def _given_time(outcome: Outcome) -> Outcome:
    """Return *outcome*; where the request may still be at work, the next try comes no sooner than it can be found."""
    if isinstance(outcome, Ambiguous):
        return replace(outcome, retry_after_s=max(SETTLE_S, outcome.retry_after_s or 0.0))
    return outcome


def _ends_before(page: Sequence[Mapping[str, Json]], since: str) -> bool:
    """Return whether the last of *page* was made before *since*: what follows it, newest first, is older still."""
    try:
        return bool(page) and parse_iso(str(page[-1].get("created_at"))) < parse_iso(since)
    except ValueError:
        return False


def _mark(delivery: Delivery) -> str:
    return str(delivery.payload["mark"])


def _since(delivery: Delivery) -> str:
    """Return from when on something made by *delivery* may exist, with room for clocks that differ."""
    first = parse_iso(delivery.first_attempt_at or delivery.created_at)
    return iso(first - LOOK_UP_SLACK_S * MS_PER_S)[:19] + "Z"
