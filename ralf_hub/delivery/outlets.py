"""The ways out that are not HTTP, made for connectors to be handed."""

from collections.abc import Sequence

from ralf_hub.connectors.outlets import Outlets
from ralf_hub.delivery.notifier import Notifier
from ralf_hub.delivery.smtp import Mailer


def outlets(allowed_networks: Sequence[str]) -> Outlets:
    """Return them, none reaching a private network but those of *allowed_networks*."""
    return Outlets(mail=Mailer(allowed_networks), notify=Notifier(allowed_networks))
