from ipaddress import ip_network
from pathlib import Path

import pytest

from ralf_hub.config import load
from ralf_hub.errors import SettingsError
from tests.config.helpers import CHECKOUT, good, problems, warnings, write


def test_the_default_runs_with_nothing_else() -> None:
    loaded = load(CHECKOUT / "ralf-hub.toml", {})
    assert loaded.warnings == ()
    assert loaded.settings.api.host == "127.0.0.1"
    assert loaded.settings.api.port == 8080
    assert loaded.settings.database.path == CHECKOUT / "var/ralf-hub.db"
    assert loaded.settings.workspace.path == CHECKOUT / "var/workspace"
    assert loaded.settings.workspace.sample
    assert list(loaded.settings.connectors) == ["console"]
    assert loaded.settings.connectors["console"].events == ("*",)


def test_the_examples_in_the_default_load_too(tmp_path: Path) -> None:
    lines = (CHECKOUT / "ralf-hub.toml").read_text().splitlines()
    examples = [
        line[2:]
        for line in lines
        if line.startswith(("# [", "# {")) or (line.startswith("# ") and " = " in line)
    ]
    plain = [line for line in lines if not line.startswith("#")]
    write(tmp_path, "dashboard-secret-0123456789\n", "dashboard-secret")
    text = "\n".join([*plain, *(line for line in examples if "secret =" not in line or "${" in line)])
    names = ("SLACK_WEBHOOK_URL", "SLACK_ALERTS_WEBHOOK_URL", "TASKS_WEBHOOK_URL")
    env = {name: f"https://example.org/{name}" for name in names}
    env |= {"SLACK_BOT_TOKEN": "xoxb-0123456789", "GITHUB_WEBHOOK_SECRET": "0123456789abcdef"}
    loaded = good(tmp_path, text, env)
    assert list(loaded.settings.connectors)[:4] == ["console", "slack", "slack-alerts", "dashboard"]
    assert loaded.settings.connectors["slack-alerts"].filter.priority == ("critical", "high")
    assert len(loaded.settings.webhooks.outgoing) == 1
    assert len(loaded.settings.webhooks.incoming) == 1
    assert loaded.settings.security.allowed_networks == (ip_network("127.0.0.0/8"),)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        [api]
        prot = 8080
        port = "abc"
        [connectors.consol]
        [delivery]
        timeout_s = 0
        [workspce]
        """,
    )
    assert {key: problem.message for key, problem in found.items()} == {
        "api.prot": "is not a key of these settings",
        "api.port": "must be a whole number",
        "connectors.consol": "there is no connector of that type",
        "delivery.timeout_s": "must be at least 0.1",
        "workspce": "is not a key of these settings",
    }
    assert found["api.prot"].remedy == "did you mean port?"
    assert found["api.port"].remedy.startswith("write port = 8080 or the like")
    assert found["connectors.consol"].remedy == "did you mean console?"
    assert found["workspce"].remedy == "did you mean workspace?"
    assert all(problem.file == str(tmp_path / "ralf-hub.toml") for problem in found.values())


def test_an_unknown_key_that_is_near_no_other(tmp_path: Path) -> None:
    found = problems(tmp_path, "[database]\nzzz = 1\n")
    assert found["database.zzz"].remedy == "known here: path, free_mib_min"


@pytest.mark.parametrize(
    ("section", "line", "key", "words"),
    [
        ("api", 'port = "abc"', "api.port", "whole number"),
        ("api", "port = 0", "api.port", "at least 1"),
        ("api", "port = 70000", "api.port", "at most 65535"),
        ("api", "port = true", "api.port", "not true or false"),
        ("api", "port = 80.5", "api.port", "whole number"),
        ("api", "port = []", "api.port", "whole number"),
        ("api", 'debug = "perhaps"', "api.debug", "true or false"),
        ("api", "host = 1", "api.host", "must be text"),
        ("api", 'host = ""', "api.host", "must not be empty"),
        ("api", 'auth_type = "basic"', "api.auth_type", "'api_key', 'oauth' or 'none'"),
        ("api", 'auth_type = "oauth"', "api.oauth", "issuer and audience"),
        ("api", 'auth_type = "oauth"\noauth = {}', "api.oauth.issuer", "is missing"),
        ("api", 'oauth = {issuer = "x", audience = "y"}', "api.oauth.issuer", "must be a URL"),
        (
            "api",
            'oauth = {issuer = "https://u:p@x.org", audience = "y"}',
            "api.oauth.issuer",
            "user name or password",
        ),
        ("api", 'auth_type = "none"\nhost = "0.0.0.0"', "api.auth_type", "this machine alone"),
        ("api", 'auth_type = "none"\nhost = "example.org"', "api.auth_type", "this machine alone"),
        ("api", 'api_keys = "one"', "api.api_keys", "must be a list"),
        ("api", "api_keys = [1]", "api.api_keys[0]", "must be a table"),
        ("api", 'api_keys = ["abc"]', "api.api_keys[0].key", "too short"),
        (
            "api",
            'api_keys = ["CHANGE_THIS_TO_STRONG_RANDOM_KEY"]',
            "api.api_keys[0]",
            "an example, not a key",
        ),
        ("api", 'api_keys = [{name = "a"}]', "api.api_keys[0]", "either key or key_sha256"),
        ("api", 'api_keys = [{key_sha256 = "12"}]', "api.api_keys[0].key_sha256", "64 hexadecimal"),
        (
            "api",
            'api_keys = [{key = "0123456789", scopes = ["task:read"]}]',
            "api.api_keys[0].scopes",
            "tasks:read",
        ),
        ("api", 'api_keys = [{key = "0123456789", scopes = ["zzz"]}]', "api.api_keys[0].scopes", "there are"),
        ("api", 'api_keys = [{key = "01234567", name = "a b"}]', "api.api_keys[0].name", "letters, digits"),
        (
            "api",
            'api_keys = [{key = "012345", name = "a"}, {key = "543210", name = "a"}]',
            "api.api_keys",
            "one name",
        ),
        ("api", "rate_limit = {requests_per_minute = 0}", "api.rate_limit.requests_per_minute", "at least 1"),
        ("api", "rate_limit = true", "api.rate_limit", "must be a table"),
        ("api", 'cors = {origins = ["example.org"]}', "api.cors.origins[0]", "must be an origin"),
        ("api", 'cors = {origins = ["https://x.org/a"]}', "api.cors.origins[0]", "without a path"),
        ("api", "body_bytes_max = 1", "api.body_bytes_max", "at least 1024"),
        ("api", 'public_url = "hub.example.org"', "api.public_url", "must be a URL"),
        ("api", 'tls = {cert = "no.pem", key = "no.key"}', "api.tls.cert", "does not exist"),
        ("database", "path = 1", "database.path", "must be a path"),
        ("database", 'path = "a\\u0000b"', "database.path", "NUL"),
        ("database", 'path = "~nobody-here/x"', "database.path", "home folder"),
        ("workspace", 'timezone = "Mars/Olympus"', "workspace.timezone", "time zone"),
        ("workspace", 'timezone = "../../etc/passwd"', "workspace.timezone", "time zone"),
        ("workspace", 'write_back = "some"', "workspace.write_back", "'tasks', 'off' or 'full'"),
        ("workspace", 'event_types = {done = "no type"}', "workspace.event_types.done", "event type"),
        ("workspace", "poll_s = nan", "workspace.poll_s", "finite"),
        ("workspace", "poll_s = 0", "workspace.poll_s", "at least 0.05"),
        ("delivery", "timeout_s = inf", "delivery.timeout_s", "finite"),
        ("delivery", "max_attempts = 0", "delivery.max_attempts", "at least 1"),
        (
            "delivery",
            "backoff_first_s = 10\nbackoff_max_s = 5",
            "delivery.backoff_max_s",
            "less than backoff_first_s",
        ),
        (
            "delivery",
            "breaker_probe_first_s = 1e4",
            "delivery.breaker_probe_max_s",
            "less than breaker_probe_first_s",
        ),
        ("retention", "events_days = 0", "retention.events_days", "at least 1"),
        ("retention", "events_days = 2026-01-01", "retention.events_days", "whole number"),
        ("security", 'allowed_networks = ["10.0.0.1/8"]', "security.allowed_networks[0]", "10.0.0.0/8"),
        ("security", 'allowed_networks = ["lan"]', "security.allowed_networks[0]", "address range"),
        ("security", 'trusted_proxies = "10.0.0.1"', "security.trusted_proxies", "must be a list"),
        ("logging", 'level = "loud"', "logging.level", "must be one of"),
        ("logging", "format = 1", "logging.format", "must be one of"),
    ],
)
def test_what_is_refused(tmp_path: Path, section: str, line: str, key: str, words: str) -> None:
    found = problems(tmp_path, f"[{section}]\n{line}\n")
    assert words in found[key].message


def test_what_is_taken(tmp_path: Path) -> None:
    settings = good(
        tmp_path,
        """
        [api]
        host = "::1"
        auth_type = "none"
        public_url = "https://hub.example.org/"
        oauth = {issuer = "https://login.example.org/", audience = "hub"}
        api_keys = ["0123456789abcdefghij", {name = "ci", key_sha256 = "%s", scopes = ["tasks:read", "admin"]}]
        cors = {origins = ["*", "http://localhost:3000/"]}
        [workspace]
        write_back = "off"
        timezone = "UTC"
        event_types = {done = "task_completed"}
        [security]
        allowed_networks = ["127.0.0.0/8", "fd00::/8", "10.1.2.3"]
        [logging]
        level = "INFO"
        """
        % ("AB" * 32),
    ).settings
    assert [(key.name, key.scopes) for key in settings.api.api_keys] == [
        ("settings-1", ("*",)),
        ("ci", ("tasks:read", "admin")),
    ]
    assert settings.api.api_keys[1].key_sha256 == "ab" * 32
    assert settings.api.public_url == "https://hub.example.org"
    assert settings.api.oauth is not None
    assert settings.api.oauth.issuer == "https://login.example.org/", "compared with tokens to the letter"
    assert settings.api.cors.origins == ("*", "http://localhost:3000")
    assert settings.security.allowed_networks == tuple(
        map(ip_network, ("127.0.0.0/8", "fd00::/8", "10.1.2.3"))
    )
    assert settings.logging.level == "info"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_no_keys_on_loopback_only(tmp_path: Path, host: str) -> None:
    assert good(tmp_path, f'[api]\nhost = "{host}"\nauth_type = "none"\n').settings.api.auth_type == "none"


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("1", True), ("on", True), ("No", False), ("0", False)]
)
def test_truth_values_from_the_environment(tmp_path: Path, word: str, *, value: bool) -> None:
    assert good(tmp_path, '[api]\ndebug = "${DEBUG}"\n', {"DEBUG": word}).settings.api.debug is value


def test_numbers_from_the_environment(tmp_path: Path) -> None:
    text = '[api]\nport = "${PORT}"\n[delivery]\ntimeout_s = "${TIMEOUT:-2.5}"\n'
    settings = good(tmp_path, text, {"PORT": "9000"}).settings
    assert (settings.api.port, settings.delivery.timeout_s) == (9000, 2.5)


def test_an_unset_variable_falls_back_to_the_default_and_says_so(tmp_path: Path) -> None:
    loaded = good(tmp_path, '[api]\nport = "${PORT}"\n')
    assert loaded.settings.api.port == 8080
    assert warnings(loaded) == {"api.port": "is left out, because PORT is not set"}


def test_an_unset_variable_where_the_value_is_needed(tmp_path: Path) -> None:
    text = '[api.oauth]\nissuer = "${ISSUER}"\naudience = "hub"\n'
    found = problems(tmp_path, text)
    assert found["api.oauth.issuer"].message == "ISSUER is not set"
    assert found["api.oauth.issuer"].remedy == "set ISSUER in the environment"


def test_keys_with_unset_variables_give_no_key(tmp_path: Path) -> None:
    loaded = good(tmp_path, '[api]\napi_keys = ["${ONE}", "${TWO}"]\n', {"TWO": "0123456789abcdefghij"})
    assert len(loaded.settings.api.api_keys) == 1
    assert warnings(loaded) == {"api.api_keys[0]": "is left out, because ONE is not set"}


def test_places_in_lists_are_those_of_the_file(tmp_path: Path) -> None:
    found = problems(tmp_path, '[api]\napi_keys = ["${ONE}", "0123456789", 7]\n')
    assert list(found) == ["api.api_keys[2]"]


def test_short_keys_are_warned_of(tmp_path: Path) -> None:
    assert warnings(good(tmp_path, '[api]\napi_keys = ["0123456789"]\n')) == {
        "api.api_keys[0]": "is short enough to be guessed"
    }


def test_a_malformed_variable_has_its_place(tmp_path: Path) -> None:
    found = problems(tmp_path, '[api]\nhost = "${HO ST}"\n[database]\npath = "${"\n')
    assert list(found) == ["api.host", "database.path"]
    assert "$${" in found["api.host"].message


def test_yaml_reads_off_and_empty_sections(tmp_path: Path) -> None:
    text = "workspace:\n  write_back: off\n  path:\napi:\nconnectors:\n  console:\nwebhooks:\n  incoming:\n"
    settings = good(tmp_path, text, name="a.yaml").settings
    assert settings.workspace.write_back == "off"
    assert settings.workspace.path is None
    assert list(settings.connectors) == ["console"]


@pytest.mark.parametrize("section", ["api", "connectors", "webhooks", "database", "connectors.console"])
def test_sections_must_be_tables(tmp_path: Path, section: str) -> None:
    table, _, key = section.rpartition(".")
    text = f"[{table}]\n{key} = 1\n" if table else f"{key} = 1\n"
    assert problems(tmp_path, text)[section].message == "must be a table"


def test_overrides_win_and_are_named_when_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, '[api]\nport = "${PORT}"\nhost = "0.0.0.0"\n')
    loaded = load(path, {}, {"api.port": 9000, "api.host": "127.0.0.1", "database.path": "/srv/hub.db"})
    assert (loaded.settings.api.port, loaded.settings.api.host) == (9000, "127.0.0.1")
    assert loaded.settings.database.path == Path("/srv/hub.db")
    assert loaded.warnings == ()
    with pytest.raises(SettingsError) as caught:
        load(path, {}, {"api.port": 70000})
    assert [(problem.file, problem.key) for problem in caught.value.problems] == [
        ("command line", "api.port")
    ]


def test_a_missing_workspace_is_warned_of(tmp_path: Path) -> None:
    loaded = good(tmp_path, '[workspace]\npath = "nowhere"\n')
    assert warnings(loaded) == {"workspace.path": "there is no such folder"}
    (tmp_path / "nowhere").mkdir()
    assert warnings(good(tmp_path, '[workspace]\npath = "nowhere"\n')) == {}


def test_a_misspelt_event_type_is_warned_of(tmp_path: Path) -> None:
    loaded = good(tmp_path, '[workspace]\nevent_types = {done = "task_complete", other = "agent_done"}\n')
    assert warnings(loaded) == {"workspace.event_types.done": "is no event type of the hub"}


def test_odd_keys_are_shown_short_and_in_quotes(tmp_path: Path) -> None:
    found = problems(tmp_path, '[api]\n"a\\nb" = 1\n"%s" = 1\n' % ("x" * 200))
    assert list(found) == ['api."a\\nb"', f'api."{"x" * 40}..."']


def test_the_older_layout_is_recognised(tmp_path: Path) -> None:
    found = problems(tmp_path, "server: {port: 5000}\nauth: {}\n", name="api-config.yaml")
    assert found["file"].message == "has the older layout (server, auth)"
    assert "ralf-hub init --from" in found["file"].remedy


@pytest.mark.parametrize(
    "text",
    [
        "[api]\n" + "".join(f"key{number} = 1\n" for number in range(5_000)),
        "[api]\napi_keys = [" + "'${MISSING}', " * 5_000 + "]\n",
        "[connectors.console]\nevents = [" + "'task_complete', " * 5_000 + "]\n",
        "".join(f"[connectors.c{number}]\n" for number in range(5_000)),
        "".join(f"[connectors.c{number}]\ntype = 'console'\n" for number in range(5_000)),
        "".join(f"[[webhooks.incoming]]\nservice = 'service-{number}'\n" for number in range(3_000)),
    ],
)
def test_more_than_anyone_reads_is_not_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text), {})
    assert len(caught.value.problems) == 101
    assert caught.value.problems[-1].message == "has more to tell of than these 100 problems and warnings"
    assert caught.value.__context__ is None


def test_a_thousand_connectors_load(tmp_path: Path) -> None:
    text = "".join(
        f'[connectors.c{number}]\ntype = "webhook"\nurl = "https://example.org/{number}"\nevents = ["*"]\n'
        for number in range(1_000)
    )
    loaded = good(tmp_path, text)
    assert len(loaded.settings.connectors) == 1_000
    assert loaded.warnings == ()


def test_settings_do_not_change(tmp_path: Path) -> None:
    settings = good(tmp_path, "").settings
    with pytest.raises(ValueError, match="frozen"):
        settings.api.port = 1  # type: ignore[misc]


def test_the_fingerprint_follows_the_settings(tmp_path: Path) -> None:
    text = '[api]\nport = 8080\napi_keys = ["${KEY}"]\n[connectors.console]\n'
    env = {"KEY": "0123456789abcdefghij"}
    first = good(tmp_path, text, env).fingerprint
    assert len(first) == 12
    assert good(tmp_path, "# a comment\n" + text, env).fingerprint == first
    assert good(tmp_path, text.replace("8080", "8081"), env).fingerprint != first
    assert good(tmp_path, text, {"KEY": "0123456789abcdefghik"}).fingerprint != first
    assert good(tmp_path, text + "enabled = false\n", env).fingerprint != first
