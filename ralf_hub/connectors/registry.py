"""Which connectors there are: the built-in ones by name, others by the entry point `ralf_hub.connectors`."""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

from ralf_hub.connectors.base import Connector

ENTRY_POINT_GROUP: Final = "ralf_hub.connectors"

BUILT_IN: Final = {
    "apprise": "ralf_hub.connectors.apprise:AppriseConnector",
    "console": "ralf_hub.connectors.console:ConsoleConnector",
    "discord": "ralf_hub.connectors.discord:DiscordConnector",
    "email": "ralf_hub.connectors.mail:EmailConnector",
    "github": "ralf_hub.connectors.github:GitHubConnector",
    "gitlab": "ralf_hub.connectors.gitlab:GitLabConnector",
    "jira": "ralf_hub.connectors.jira:JiraConnector",
    "pagerduty": "ralf_hub.connectors.pagerduty:PagerDutyConnector",
    "slack": "ralf_hub.connectors.slack:SlackConnector",
    "trello": "ralf_hub.connectors.trello:TrelloConnector",
    "webhook": "ralf_hub.connectors.webhook:WebhookConnector",
}
"""Imported only when named, so that a hub pays for the services it uses."""


def known_types() -> list[str]:
    """Return every connector type that can be named in the settings."""
    return sorted({*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})


@cache
def connector_class(type_name: str) -> type[Connector]:
    """Return the class of connector *type_name*. KeyError when there is none."""
    if type_name in BUILT_IN:
        module, _, name = BUILT_IN[type_name].partition(":")
        loaded: object = getattr(import_module(module), name)
    else:
        points = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == type_name]
        if not points:
            raise KeyError(type_name)
        loaded = points[0].load()
    if not (isinstance(loaded, type) and issubclass(loaded, Connector)):
        message = f"connector type {type_name!r} is not a subclass of ralf_hub.connectors.base.Connector"
        raise TypeError(message)
    return loaded
