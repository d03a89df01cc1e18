"""The settings of a Jira connector, checked when they load."""

from collections.abc import Mapping
from typing import Final

from pydantic import Field, field_validator

from ralf_hub.connectors import jira_plan
from ralf_hub.connectors.base import ConnectorSettings
from ralf_hub.connectors.fields import BaseUrl, Token
from ralf_hub.connectors.jira_site import basic
from ralf_hub.connectors.objects import check_moves

LABEL_LENGTH_MAX: Final = 255


class JiraSettings(ConnectorSettings):
    """A Jira Cloud site, the account that writes there, and the project the issues go to."""

    base_url: BaseUrl = Field(description="The site, `https://<site>.atlassian.net`.")
    email: str = Field(description="The account's e-mail address.")
    api_token: Token = Field(description="An API token of that account.")
    project_key: str = Field(description="The project's key, such as `RALF`.")
    default_issue_type: str = Field(default="Task", description="The type of the issues that are made.")
    labels: tuple[str, ...] = Field(default=("ralf",), description="Labels of every issue that is made.")
    statuses: Mapping[str, str] = Field(
        default_factory=dict,
        description="Where an event moves the issue: a status by event type, empty for no move. Left out: started "
        "to any status in progress, completed and cancelled to any that is done, the others do not move it.",
    )

    def secret_values(self) -> list[str]:
        """Return every secret, also in the form in which it is sent: whoever has that has the token."""
        return [*super().secret_values(), basic(self.email, self.api_token.get_secret_value())]

    @field_validator("email", "project_key", "default_issue_type")
    @classmethod
    def _is_said(cls, value: str) -> str:
        if not value.strip() or not value.isprintable():
            raise ValueError("is empty, or has control characters in it")
        return value.strip()

    @field_validator("statuses")
    @classmethod
    def _statuses_are_of_events_that_move(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return check_moves(value, jira_plan.MOVING)

    @field_validator("labels")
    @classmethod
    def _labels_have_no_blanks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name or len(name) > LABEL_LENGTH_MAX or any(char.isspace() for char in name):
                raise ValueError("a Jira label has no blanks, is not empty and has at most 255 characters")
        return value
