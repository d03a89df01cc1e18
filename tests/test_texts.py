import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ralf_hub.texts import clean, cut, duration, fit, one_line

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f1e9\U0001f1ea"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00b\x08c\x7fd\x9be", "abcde"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("tab\tstays", "tab\tstays"),
        (FAMILY, FAMILY),
    ],
)
def test_clean_leaves_only_what_is_read(raw: str, shown: str) -> None:
    assert clean(raw) == shown


def test_one_line_has_one_line() -> None:
    assert one_line("  a\n\n b\t c\r\n") == "a b c"


def test_cut_leaves_short_text_alone() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab\u2026"


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("abc" + FAMILY + "xyz", 6, "abc\u2026"),
        ("ab" + FLAG + "cdef", 4, "ab\u2026"),
        ("a" + FLAG + FLAG + "bc", 5, "a" + FLAG + "\u2026"),
        ("ae\u0301e\u0301xyz", 5, "ae\u0301\u2026"),
        ("wave \U0001f44b\U0001f3fd there", 7, "wave\u2026"),
        ("ok \u2714\ufe0f done", 5, "ok\u2026"),
        ("ab\ud83d\ude00cd", 4, "ab\u2026"),
    ],
)
def test_cut_never_tears_what_is_seen_as_one(text: str, limit: int, kept: str) -> None:
    assert cut(text, limit) == kept


def test_cut_does_not_let_endless_combining_marks_eat_the_text() -> None:
    text = "a" + "\u0301" * 500
    assert len(cut(text, 100)) == 100


@given(st.text(), st.integers(0, 50))
def test_cut_keeps_to_its_limit(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short) <= limit or short == text
    if len(text) > limit > 0:
        kept = short.removesuffix("\u2026")
        assert text.startswith(kept)
        rest = text[len(kept) :].lstrip()
        joined = bool(rest) and unicodedata.combining(rest[0]) != 0
        assert not joined or len(kept) > limit - 33


@given(st.text(alphabet="a&<>\u00e9\U0001f600", max_size=200), st.integers(6, 100))
def test_fit_never_tears_an_escape(text: str, limit: int) -> None:
    def escape(part: str) -> str:
        return part.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    fitted = fit(text, limit, escape)
    assert len(fitted) <= limit
    plain = fitted.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert escape(plain) == fitted
    assert text.startswith(plain.removesuffix("\u2026"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3720, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
