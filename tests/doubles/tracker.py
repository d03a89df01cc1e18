"""What the doubles of GitHub and GitLab keep: one project with issues, comments and labels."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ralf_hub.clock import iso

T = TypeVar("T")
MERGE_NUMBER = 500
"""The project has one pull or merge request from the start."""


def system_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Comment:
    number: int
    body: str
    created_at: str


@dataclass(slots=True)
class Issue:
    number: int
    title: str
    body: str
    labels: list[str]
    created_at: str
    updated_at: str
    state: str = "open"
    reason: str | None = None
    locked: bool = False
    deleted: bool = False
    merges: bool = False
    comments: list[Comment] = field(default_factory=list)


class Tracker:
    """One project's issues. `events` counts what made something, as a person would see it."""

    def __init__(self, now: Callable[[], int] = system_ms) -> None:
        self.now = now
        self.issues: dict[int, Issue] = {}
        self.has_issues = True
        self.archived = False
        self.revoked = False
        self.hidden = False
        self._comments = 0
        self.page_size_max = 100
        self.merge = Issue(MERGE_NUMBER, "A change", "", [], iso(now()), iso(now()), merges=True)

    @property
    def made(self) -> list[Issue]:
        """The issues that were made, the first of them first."""
        return [self.issues[number] for number in sorted(self.issues)]

    def add(self, title: str, body: str = "", labels: list[str] | None = None) -> Issue:
        now = iso(self.now())
        issue = Issue(len(self.issues) + 1, title, body, list(labels or ()), now, now)
        self.issues[issue.number] = issue
        return issue

    def comment(self, issue: Issue, body: str) -> Comment:
        self._comments += 1
        comment = Comment(self._comments, body, iso(self.now()))
        issue.comments.append(comment)
        issue.updated_at = comment.created_at
        return comment

    def find(self, number: int) -> Issue | None:
        if number == MERGE_NUMBER:
            return self.merge
        issue = self.issues.get(number)
        return None if issue is None or issue.deleted else issue

    def page(self, items: list[T], query: Mapping[str, str], size: int) -> tuple[list[T], dict[str, str]]:
        """Return the page *query* asks for, of *size* where it names none, and the header that leads to the next."""
        number = int(query.get("page", 1))
        size = min(int(query.get("per_page", size)), self.page_size_max)
        more = (
            {"Link": f'<https://elsewhere/?page={number + 1}>; rel="next"'}
            if number * size < len(items)
            else {}
        )
        return items[(number - 1) * size : number * size], more
