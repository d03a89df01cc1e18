"""What a Jira section may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from ralf_hub.connectors.jira_settings import JiraSettings

GOOD = {
    "base_url": "https://x.atlassian.net/",
    "email": " a@b.c ",
    "api_token": " t0ken\n",
    "project_key": "P",
}


def test_what_is_pasted_with_blanks_around_it_is_taken_without() -> None:
    settings = JiraSettings.model_validate(GOOD)
    assert settings.base_url == "https://x.atlassian.net"
    assert settings.email == "a@b.c"
    assert settings.api_token.get_secret_value() == "t0ken"
    assert (settings.default_issue_type, settings.labels) == ("Task", ("ralf",))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"base_url": "x.atlassian.net"}, "must start with https://"),
        ({"email": " "}, "is empty"),
        ({"project_key": "P\x00"}, "control characters"),
        ({"api_token": "  "}, "is empty"),
        ({"api_token": "two words"}, "characters in it that no token has"),
        ({"api_token": "tökén"}, "characters in it that no token has"),
        ({"labels": ["two words"]}, "has no blanks"),
        ({"labels": ["x" * 256]}, "at most 255"),
        ({"statuses": {"task_complete": "Done"}}, "did you mean task_completed?"),
        ({"statuses": {"zebra": "Done"}}, "there are task_started, task_blocked"),
        ({"projct_key": "P"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(wrong: Any, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        JiraSettings.model_validate({**GOOD, **wrong})
    assert words in str(caught.value)
    for secret in ("t0ken", "two words", "tökén"):
        assert secret not in str(caught.value) or secret in wrong.get("labels", ())


@pytest.mark.parametrize("name", ["base_url", "email", "api_token", "project_key"])
def test_what_is_needed(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        JiraSettings.model_validate({key: value for key, value in GOOD.items() if key != name})
