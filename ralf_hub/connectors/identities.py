"""Whose credentials a connector uses, as its service tells it."""

from collections.abc import Mapping

from ralf_hub.connectors.base import Connector, Http, Identity
from ralf_hub.model import Json

OK = 200


async def identity(connector: Connector, http: Http) -> Identity | None:
    """Ask the service of *connector* who the hub is there; None where it does not say.

    Lets `NotSentError` and `UnknownAnswerError` pass: it may say so another time.
    """
    request = connector.ask_identity()
    if request is None:
        return None
    response = await http(request)
    answer = response.json()
    return connector.read_identity(answer) if response.status == OK and isinstance(answer, dict) else None


def named(answer: Mapping[str, Json], *keys: str, is_bot: bool) -> Identity | None:
    """Return the identity of the names and ids that *answer* has under *keys*; None where it has none."""
    found = [answer.get(key) for key in keys]
    names = tuple(
        str(name) for name in found if isinstance(name, (str, int)) and name not in {"", True, False}
    )
    return Identity(names, is_bot) if names else None
