import base64
import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.secrets import SECRET_LENGTH_MIN, Redactor, same, sha256_hex

KEY = "rh_abcdefghijklmnopqrstuvwxyz0123456789-_AB"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token is hunter2-hunter2.", "token is ***."),
        ("hunter2-hunter2hunter2-hunter2", "******"),
        ("longest: hunter2-hunter2-and-more", "longest: ***"),
        (f"key {KEY}, and on", "key rh_***, and on"),
        ("Authorization: Bearer abcdefgh.ijkl-mnop", "Authorization: Bearer ***"),
        ("authorization: basic dXNlcjpwYXNzd29yZA==", "authorization: basic ***"),
        ("https://x.test/a?token=abc&n=1", "https://x.test/a?token=***&n=1"),
        ("https://x.test/a?n=1&api_key=abc", "https://x.test/a?n=1&api_key=***"),
        ("/stream?ticket=abc'", "/stream?ticket=***'"),
        ("nothing to hide: a basic idea", "nothing to hide: a basic idea"),
        ("", ""),
    ],
)
def test_what_must_not_be_shown_is_masked(text: str, shown: str) -> None:
    redact = Redactor(["hunter2-hunter2", "hunter2-hunter2-and-more", "s.*cret+", "short"])
    assert redact(text) == shown


def test_a_secret_is_text_not_a_pattern() -> None:
    redact = Redactor(["a.b*c+d(e"])
    assert redact("it is a.b*c+d(e") == "it is ***"
    assert redact("it is aXbbcd(e") == "it is aXbbcd(e"


def test_new_secrets_are_known_beside_the_old() -> None:
    redact = Redactor(["old-secret"])
    redact.learn(["new-secret"])
    assert redact("old-secret new-secret") == "*** ***"
    redact.learn([])
    assert redact("new-secret of old-secret") == "*** of ***"


@pytest.mark.parametrize(
    "shown",
    [
        'a "b"/ü&c',
        "a%20%22b%22%2F%C3%BC%26c",
        "a%20%22b%22/%C3%BC%26c",
        'a \\"b\\"/ü&c',
        'a \\"b\\"/\\u00fc&c',
        "a &quot;b&quot;/ü&amp;c",
    ],
)
def test_a_secret_is_known_however_it_is_written(shown: str) -> None:
    assert Redactor(['a "b"/ü&c'])(f"x={shown};") == "x=***;"


@pytest.mark.parametrize("before", ["", "a", "ab", "me@example.org:", "\0user\0"])
@pytest.mark.parametrize("after", ["", "z", "zz", ":more"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_known_inside_base64(before: str, after: str, encode: Callable[[bytes], bytes]) -> None:
    secret = "p\u00e4ss>>word??0123456789~~~"
    shown = Redactor([secret])("535 no: " + encode(f"{before}{secret}{after}".encode()).decode())
    left = shown.replace("***", "").removeprefix("535 no: ")
    assert "***" in shown
    assert len(left) <= len(encode(before.encode())) + len(encode(after.encode())) + 4


def test_every_line_of_a_private_key_is_a_secret_by_itself() -> None:
    redact = Redactor([f"-----BEGIN KEY-----\n{'A' * 64}\n{'B' * 64}\nC==\n"])
    assert redact(f"first {'A' * 64}, then {'B' * 64}") == "first ***, then ***"


def test_a_redactor_shows_nothing_of_what_it_knows() -> None:
    assert "secret" not in repr(Redactor(["top-secret"]))


@given(
    st.lists(st.text("abc", min_size=SECRET_LENGTH_MIN, max_size=12), min_size=1, max_size=5),
    st.lists(st.text("abc .,", max_size=10), min_size=2, max_size=6),
)
def test_no_known_secret_is_left_whatever_stands_around_it(secrets: list[str], words: list[str]) -> None:
    text = words[0] + "".join(secret + word for secret, word in zip(secrets * 6, words[1:], strict=False))
    shown = Redactor(secrets)(text)
    assert not any(secret in shown for secret in secrets)


def test_hashes_and_comparison() -> None:
    assert sha256_hex("schlüssel") == hashlib.sha256("schlüssel".encode()).hexdigest()
    assert same("ä", "ä")
    assert not same("ä", "a")
    assert not same("a", "")
