import logging
import pickle
import traceback
from pathlib import Path

import pytest

from ralf_hub.config import Loaded, fingerprint, instances, load, secret_values
from ralf_hub.connectors.base import ConnectorEnv
from ralf_hub.errors import SettingsError
from ralf_hub.secrets import Redactor
from tests.config.helpers import SLACK_URL, good, problems, warnings, write

CANARY = "canary-7d1f0c"
URL = f"https://example.org/hooks/{CANARY}?key={CANARY}"


def everything_said(error: BaseException) -> str:
    """Return all that a careless handler could show of *error* and of what it was raised from."""
    texts = []
    seen: BaseException | None = error
    while seen is not None:
        texts += [str(seen), repr(seen), repr(seen.args), "".join(traceback.format_exception(seen))]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


# --- file: ----------------------------------------------------------------------------------------


def test_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    for name, content in [
        ("hook", SLACK_URL + "\n"),
        ("github", "github-secret\r\n"),
        ("key", "0123456789abcdefghij"),
    ]:
        write(tmp_path / "secrets", "", name).write_text(content)
    text = f"""
        [api]
        api_keys = ["file:secrets/key"]
        [connectors.slack]
        webhook_url = "file:{tmp_path}/secrets/hook"
        [connectors.webhook]
        url = "https://example.org/"
        headers = {{Authorization = "file:${{FOLDER}}/key"}}
        [[webhooks.incoming]]
        service = "github"
        secret = ["file:secrets/github"]
    """
    loaded = good(tmp_path, text, {"FOLDER": "secrets"})
    assert loaded.warnings == ()
    assert {SLACK_URL, "github-secret", "0123456789abcdefghij"} <= set(secret_values(loaded.settings))
    assert loaded.files[0] == tmp_path / "ralf-hub.toml"
    assert set(loaded.files[1:]) == set((tmp_path / "secrets").iterdir())


def test_only_secrets_are_read_from_files(tmp_path: Path) -> None:
    text = '[connectors.slack]\nwebhook_url = "${URL}"\nchannel = "file:/etc/hostname"\n'
    section = good(tmp_path, text, {"URL": SLACK_URL}).settings.connectors["slack"]
    assert section.model_dump()["channel"] == "file:/etc/hostname"


def test_secret_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff" * 20)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "big").write_text("x" * 70_000)
    names = ("none", "latin", "empty", "big", ".", "~nobody-here/x", "a\\u0000b")
    entries = ", ".join(f'"file:{name}"' for name in names)
    found = problems(tmp_path, f"[api]\napi_keys = [{entries}]\n")
    messages = [found[f"api.api_keys[{index}]"].message for index in (0, 1, 3, 4, 5, 6)]
    assert messages == [
        "its secret file does not exist",
        "its secret file is not UTF-8 text (line 1)",
        "its secret file is larger than 64 KiB",
        "its secret file is a folder",
        "its secret file is in a home folder that does not exist",
        "its secret file has a name with NUL in it",
    ]


def test_an_empty_secret_file(tmp_path: Path) -> None:
    write(tmp_path, "\n", "empty")
    found = problems(tmp_path, '[api]\napi_keys = ["file:empty"]\n')
    assert "too short" in found["api.api_keys[0].key"].message


def test_a_disabled_section_reads_no_files(tmp_path: Path) -> None:
    text = '[connectors.slack]\nenabled = false\nwebhook_url = "file:none"\n[[webhooks.incoming]]\nenabled = false\nsecret = "file:none"\n'
    assert good(tmp_path, text).warnings == ()


def test_a_secret_file_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    secret = write(tmp_path, "0123456789abcdefghij", "secret")
    text = '[api]\napi_keys = ["file:secret"]\n'
    assert warnings(good(tmp_path, text)) == {}
    secret.chmod(0o640)
    assert warnings(good(tmp_path, text)) == {
        "api.api_keys[0]": "its secret file may be read by others on this machine"
    }


def test_a_settings_file_with_secrets_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    text = '[api]\napi_keys = ["{}"]\n[[webhooks.outgoing]]\nevent = "*"\nurl = "{}"\n'
    path = write(tmp_path, text.format("${KEY}", "https://example.org/"))
    path.chmod(0o644)
    env = {"KEY": "0123456789abcdefghij"}
    assert load(path, env).warnings == (), "no secret stands in it"
    for key, url in [("0123456789abcdefghij", "https://example.org/"), ("${KEY}", SLACK_URL)]:
        path = write(tmp_path, text.format(key, url))
        assert load(path, env).warnings == ()
        path.chmod(0o644)
        assert warnings(load(path, env)) == {"file": "has secrets in it and may be read by others"}


@pytest.mark.parametrize("secret", [" 0123456789", "0123456789\n", "\t0123456789"])
def test_blanks_around_a_secret_are_warned_of(tmp_path: Path, secret: str) -> None:
    text = '[[webhooks.incoming]]\nservice = "github"\nsecret = "${SECRET}"\n'
    assert "blanks" in warnings(good(tmp_path, text, {"SECRET": secret}))["webhooks.incoming[0].secret[0]"]


def test_examples_are_warned_of(tmp_path: Path) -> None:
    text = '[[webhooks.incoming]]\nservice = "github"\nsecret = "CHANGE_THIS_TO_RANDOM_WEBHOOK_SECRET"\n'
    assert "example" in warnings(good(tmp_path, text))["webhooks.incoming[0].secret[0]"]


# --- nothing shows a secret -----------------------------------------------------------------------

ALL_SECRETS = f"""
    [api]
    api_keys = ["{CANARY}-1", {{name = "two", key = "{CANARY}-2"}}]
    [connectors.slack]
    webhook_url = "https://hooks.slack.com/services/T/B/{CANARY}"
    bot_token = "xoxb-{CANARY}"
    channel = "#ralf"
    [connectors.webhook]
    url = "{URL}"
    secret = ["{CANARY}-3", "${{SECRET}}"]
    headers = {{Authorization = "Bearer {CANARY}"}}
    [[webhooks.incoming]]
    service = "gitlab"
    secret = "{CANARY}-4"
    token = "{CANARY}-5"
    signing_key = "whsec_{CANARY}"
    [[webhooks.outgoing]]
    event = "*"
    url = "{URL}/2"
    secret = "{CANARY}-6"
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return good(tmp_path, ALL_SECRETS, {"SECRET": f"{CANARY}-7"})


def test_good_settings_do_not_show_their_secrets(loaded: Loaded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    built = instances(loaded.settings, ConnectorEnv())
    shown = [repr(loaded), str(loaded), repr(loaded.settings), str(loaded.settings), repr(built)]
    shown += [
        loaded.settings.model_dump_json(),
        repr(loaded.settings.model_dump()),
        *map(str, loaded.warnings),
    ]
    shown += [*map(repr, built.values()), *(repr(each.settings) for each in built.values()), caplog.text]
    assert CANARY not in "\n".join(shown)


def test_the_redactor_can_know_every_secret(loaded: Loaded) -> None:
    values = secret_values(loaded.settings)
    assert {f"{CANARY}-{number}" for number in range(1, 8)} <= set(values)
    redact = Redactor(values)
    assert CANARY not in redact("\n".join(values))
    assert redact(f"GET /hooks/{CANARY}?key={CANARY} failed") == "GET *** failed", (
        "a library shows the path alone"
    )
    assert all(len(value) >= 6 for value in values)


def test_the_fingerprint_tells_little_of_a_secret(tmp_path: Path) -> None:
    prints = {
        good(tmp_path, f'[api]\napi_keys = ["0123456789abcdefghij{number}"]\n').fingerprint
        for number in range(40)
    }
    assert len(prints) >= 39, "a change shows, but for one in 65,536"
    assert fingerprint(good(tmp_path, "").settings) == good(tmp_path, "").fingerprint


WRONG = [
    f'[api]\nport = "{CANARY}"\n',
    f'[api]\nhost = ["{CANARY}"]\n',
    f'[api]\nauth_type = "{CANARY}"\n',
    f'[api]\napi_keys = [{{kye = "{CANARY}"}}]\n',
    f'[api]\napi_keys = [["{CANARY}"]]\n',
    f'[api]\napi_keys = "{CANARY}"\n',
    f'[api]\napi_keys = [{{key = "{CANARY}", key_sha256 = "{CANARY}"}}]\n',
    f'[api]\napi_keys = [{{key = "{CANARY}", scopes = ["{CANARY}"]}}]\n',
    f'[api]\napi_keys = [{{key = "{CANARY}", name = "{CANARY} {CANARY}"}}]\n',
    f'[api]\npublic_url = "https://user:{CANARY}@example.org"\n',
    f'[api]\ncors = {{origins = ["https://x.org/{CANARY}"]}}\n',
    f'[api]\noauth = {{issuer = "{CANARY}", audience = "x"}}\n',
    f'[api]\ntls = {{cert = "{CANARY}", key = "{CANARY}"}}\n',
    f'[api]\nrate_limit = "{CANARY}"\n',
    f'[security]\nallowed_networks = ["{CANARY}"]\n',
    f'[workspace]\ntimezone = "{CANARY}"\n',
    f'[workspace]\nwrite_back = "{CANARY}"\n',
    f'[delivery]\ntimeout_s = "{CANARY}"\n',
    f'[logging]\nlevel = "{CANARY}"\n',
    f'connectors = "{CANARY}"\n',
    f'[connectors.slack]\nbot_tokn = "{CANARY}"\n',
    f'[connectors.slack]\nbot_token = "{CANARY}"\n',
    f'[connectors.slack]\nwebhook_url = "{CANARY}"\n',
    f'[connectors.slack]\nwebhook_url = "https://hooks.slack.com/services/T/B/{CANARY} x"\n',
    f'[connectors.slack]\nwebhook_url = ["{CANARY}"]\n',
    f'[connectors.slack]\nwebhook_url = {{a = "{CANARY}"}}\n',
    f'[connectors.slack]\nbase_url = "{CANARY}"\n',
    f'[connectors.webhook]\nurl = "{CANARY}"\n',
    f'[connectors.webhook]\nurl = "https://x.org:{CANARY}/"\n',
    f'[connectors.webhook]\nurl = "https://x.org"\nsecret = "whsec_{CANARY}!"\n',
    f'[connectors.webhook]\nurl = "https://x.org"\nsecret = [5, "{CANARY}"]\n',
    f'[connectors.webhook]\nurl = "https://x.org"\nheaders = {{Host = "{CANARY}"}}\n',
    f'[connectors.webhook]\nurl = "https://x.org"\nheaders = {{A = "{CANARY}\\n"}}\n',
    f'[connectors.webhook]\nurl = "https://x.org"\nheaders = "{CANARY}"\n',
    f'[connectors.webhook]\nurl = "file:{CANARY}"\n',
    f'[connectors.console]\nevents = ["{CANARY} {CANARY}"]\n',
    f'[connectors.console]\ntemplate = "{{{{ {CANARY}"\n',
    f'[connectors.x]\ntype = "{CANARY}"\n',
    f'[[webhooks.incoming]]\nservice = "github"\nsecret = {{a = "{CANARY}"}}\n',
    f'[[webhooks.incoming]]\nservice = "github"\nsecrt = "{CANARY}"\n',
    f'[[webhooks.incoming]]\nservice = "discord"\npublic_key = "{CANARY}"\n',
    f'[[webhooks.incoming]]\nservice = "trello"\nsecret = "{CANARY}"\n',
    f'[[webhooks.incoming]]\nservice = "github"\npath = "{CANARY}"\n',
    f'[[webhooks.outgoing]]\nevent = "*"\nurl = "{CANARY}"\n',
    f'[[webhooks.outgoing]]\nurl = "https://x.org/{CANARY}"\n',
    f'[[webhooks.outgoing]]\nevent = "*"\nurl = "https://discord.com/api/webhooks/1/{CANARY}"\ntype = "{CANARY}"\n',
    f'[webhooks]\noutgoing = "{CANARY}"\n',
    f'[database]\npath = "{CANARY}\\u0000"\n',
    f'[database]\npth = "{CANARY}"\n',
    f'zzz = "{CANARY}"\n',
    f'a = "{CANARY}\n',
    f"a = {CANARY}\n",
    f'a = "${{{CANARY}}}"\n',
]


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("way", ["file", "environment"])
def test_no_error_shows_a_secret(tmp_path: Path, text: str, way: str) -> None:
    if way == "environment":
        text = text.replace(CANARY, "${CANARY}")
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text), {"CANARY": CANARY})
    assert CANARY not in everything_said(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_problems_travel_between_processes_without_more_than_they_say(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, WRONG[0]), {})
    assert CANARY.encode() not in pickle.dumps(caught.value.problems)
