"""`webhooks.incoming` as the hub works with it: one `Sender` for each path that answers."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from ralf_hub.config.models import Settings
from ralf_hub.config.webhook_models import IncomingWebhook
from ralf_hub.signatures import VERIFIERS, HmacScheme
from ralf_hub.verdicts import Keys, Signed, Verdict
from ralf_hub.webhooks import generic
from ralf_hub.webhooks.rules import default_rules
from ralf_hub.webhooks.senders import READERS, Read, Sender

_HOME: Final[Mapping[str, str]] = {
    "github": "repository",
    "gitlab": "project",
    "jira": "project_key",
    "trello": "board_id",
}
"""The setting in which a connector names the place whose things it keeps."""


def senders(settings: Settings) -> dict[str, Sender]:
    """Return who may call, by the last part of the path. What has nothing to verify with is left out: it stays closed."""
    return {
        entry.route: _sender(settings, entry)
        for entry in settings.webhooks.incoming
        if entry.enabled and entry.configured
    }


def _sender(settings: Settings, entry: IncomingWebhook) -> Sender:
    kin = {
        name: section
        for name, section in settings.connectors.items()
        if section.enabled and section.type == entry.service
    }
    homes = {
        str(home).casefold(): name
        for name, section in kin.items()
        if (home := getattr(section, _HOME.get(entry.service, "-"), None))
    }
    return Sender(
        route=entry.route,
        service=entry.service,
        verify=_verifier(entry),
        read=_reader(entry),
        rules=entry.actions,
        defaults=default_rules(entry.service),
        own_identity=frozenset(name.casefold() for name in entry.own_identity),
        users=frozenset(entry.users),
        max_concurrent=entry.max_concurrent,
        connectors=tuple(kin),
        homes=homes,
    )


def _verifier(entry: IncomingWebhook) -> Callable[[Signed], Verdict]:
    keys = Keys(entry.keys, entry.tolerance_s, entry.callback_url or "")
    if entry.hmac is not None:
        scheme = HmacScheme(entry.hmac.header, entry.hmac.prefix, entry.hmac.algorithm, entry.hmac.encoding)
        return lambda request: scheme.verify(request, keys)
    verifier = VERIFIERS.get(entry.service, VERIFIERS["standard"])
    return lambda request: verifier(request, keys)


def _reader(entry: IncomingWebhook) -> Read:
    if entry.hmac is not None:
        return partial(generic.read_hmac, id_header=entry.hmac.id_header)
    return READERS.get(entry.service, generic.read)
