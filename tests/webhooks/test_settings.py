"""The settings of webhooks: what is refused, and who may call then."""

from pathlib import Path

import pytest

from ralf_hub.config.senders import senders
from tests.config.helpers import good, problems


def incoming(entry: str) -> str:
    return f"[[webhooks.incoming]]\n{entry}\n"


GITHUB = 'service = "github"\nsecret = "0123456789"\n'


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (GITHUB + 'actions = [{when = "push", do = "explode"}]', "actions[0].do", "must be"),
        (GITHUB + 'actions = [{do = "create_task"}]', "actions[0].when", "is missing"),
        (GITHUB + 'actions = [{when = "push", do = "note"}]', "actions[0]", "note needs note"),
        (
            GITHUB + 'actions = [{when = "push", do = "create_task", title = "{{ x"}]',
            "actions[0].title",
            "line 1",
        ),
        (
            GITHUB + 'actions = [{when = "push", do = "create_task", titel = "x"}]',
            "actions[0].titel",
            "not a key",
        ),
        (
            GITHUB + 'actions = [{when = "push", do = "create_task", if = {ref = {a = 1}}}]',
            "actions[0].if",
            "must be",
        ),
        (GITHUB + "max_concurrent = 0", "max_concurrent", "at least 1"),
        (GITHUB + "hmac = {}", "", "how github signs is known"),
        (GITHUB + 'catch_up = {hook_id = 1, token = "ghp_0123456789"}', "catch_up", "needs either repo"),
        (
            GITHUB + 'catch_up = {repo = "a", hook_id = 1, token = "ghp_0123456789"}',
            "catch_up.repo",
            "must be owner/name",
        ),
        (GITHUB + 'catch_up = {repo = "a/b", token = "ghp_0123456789"}', "catch_up.hook_id", "is missing"),
        (
            'service = "ci"\nsecret = "0123456789"\ncatch_up = {repo = "a/b", hook_id = 1, token = "ghp_0123456789"}',
            "",
            "for github only",
        ),
        (
            'service = "ci"\nsecret = "0123456789"\nhmac = {algorithm = "md5"}',
            "hmac.algorithm",
            "must be",
        ),
        (
            'service = "ci"\nsecret = "0123456789"\nhmac = {header = "a b"}',
            "hmac.header",
            "",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, key: str, words: str) -> None:
    found = problems(tmp_path, incoming(text))
    place = "webhooks.incoming[0]" + (f".{key}" if key else "")
    match = [problem for name, problem in found.items() if name.startswith(place)]
    assert match, found
    assert words in match[0].message


def test_who_may_call(tmp_path: Path) -> None:
    text = "".join(
        incoming(entry)
        for entry in (
            GITHUB + 'own_identity = ["Ralf-Bot"]',
            'service = "github"\npath = "/api/v1/webhooks/second"\nsecret = ["a-first-secret", "a-second-secret"]',
            'service = "gitlab"\nenabled = false\ntoken = "0123456789"',
            'service = "jira"\nsecret = "${NOT_SET}"',
        )
    )
    text += (
        '[connectors.github]\ntoken = "ghp_0123456789"\nrepository = "Acme/Mill"\n'
        '[connectors.github-two]\ntype = "github"\ntoken = "ghp_0123456789"\nrepository = "acme/sieve"\n'
        '[connectors.github-off]\ntype = "github"\nenabled = false\ntoken = "x"\nrepository = "acme/off"\n'
    )
    known = senders(good(tmp_path, text).settings)
    assert set(known) == {"github", "second"}
    sender = known["github"]
    assert sender.own_identity == {"ralf-bot"}
    assert sender.connectors == ("github", "github-two")
    assert sender.homes == {"acme/mill": "github", "acme/sieve": "github-two"}
    assert known["second"].source == "webhook:second"
    assert "0123456789" not in repr(known)
