"""What must stand at each service when all of a life has been told to it, and nothing twice."""

from tests.delivery.house import Sink
from tests.doubles import discord, github, gitlab, jira, pagerduty, slack, trello
from tests.doubles.mailbox import Mailbox
from tests.doubles.receiver import Receiver

PAGERDUTY_KEY = "ralf/ralf-hub/task/TASK-7"


def check_jira(double: jira.Jira) -> None:
    (issue,) = double.issues.values()
    said = [jira.text_of(comment["body"]).split("\n")[0] for comment in issue.comments]
    assert said == ["Task failed: Fix the login", "Task completed: Fix the login", "Feature delivered: Login"]
    assert issue.status == "Done"
    assert "ralf-failed" not in issue.labels
    assert [link["title"] for link in issue.links.values()] == ["Login"]


def check_trello(double: trello.Trello) -> None:
    card, feature = sorted(double.cards.values(), key=lambda item: item.name)
    assert [card.name, feature.name] == ["Fix the login", "Login"]
    said = [comment["data"]["text"].split("\n")[0] for item in (card, feature) for comment in item.comments]
    assert said == [
        "**Task failed: Fix the login**", "**Task completed: Fix the login**", "**Feature delivered: Login**",
    ]  # fmt: skip
    assert [double.list_of(card), double.list_of(feature)] == ["Done", "Done"]


def check_tracker(double: github.GitHub | gitlab.GitLab) -> None:
    (issue,) = double.tracker.made
    said = [comment.body.split("**")[1].split(" ", 1)[1] for comment in issue.comments]
    assert said == ["Task failed: Fix the login", "Task completed: Fix the login"]
    assert (issue.state, issue.labels) == ("closed", ["ralf"])


TOLD = ["Feature delivered: Login", "Task completed: Fix the login", "Task failed: Fix the login"]


def check_discord(double: discord.Discord) -> None:
    titles = [posted.embed["title"] for posted in double.messages]
    if double.messages[0].webhook_id is not None:
        assert sorted(set(titles)) == TOLD
        return
    assert sorted(titles) == TOLD
    by_title = {posted.embed["title"]: posted for posted in double.messages}
    assert by_title[TOLD[1]].answers == by_title[TOLD[2]].id


def check_slack(double: slack.Slack) -> None:
    titles = [posted.text.split("\n")[0].split(" ", 1)[1] for posted in double.messages]
    if double.messages[0].via == "webhook":
        assert sorted(set(titles)) == TOLD
        return
    assert sorted(titles) == TOLD
    by_title = dict(zip(titles, double.messages, strict=True))
    assert by_title[TOLD[1]].thread_ts == by_title[TOLD[2]].ts


def check_button(double: slack.Slack) -> None:
    (message,) = double.messages
    assert [block["elements"][0]["text"] for block in message.blocks] == ["kai retried it"]


def check_pagerduty(double: pagerduty.PagerDuty) -> None:
    (incident,) = double.incidents
    assert (incident.payload["summary"], incident.status) == ("Task failed: Fix the login", "resolved")
    changes = {change["payload"]["summary"] for change in double.changes}
    assert changes == {"Feature delivered: Login"}
    assert double.dropped == [PAGERDUTY_KEY] * len(double.dropped)  # a repeated resolve changes nothing


def check_mail(double: Mailbox) -> None:
    subjects = {taken.message["subject"].removeprefix("[RALF] ") for taken in double.taken}
    assert sorted(subjects) == TOLD
    same = {taken.message["message-id"]: taken.content for taken in double.taken}
    assert len(same) == len(subjects)
    assert all(taken.content == same[taken.message["message-id"]] for taken in double.taken)


def check_webhook(double: Receiver) -> None:
    told = {received.id: received.json["type"] for received in double.accepted}
    assert sorted(told.values()) == ["feature_delivered", "task_completed", "task_failed"]


def check_apprise(double: Sink) -> None:
    assert sorted({body["title"] for body in double.bodies("/a")}) == TOLD
