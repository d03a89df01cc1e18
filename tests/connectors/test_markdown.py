"""Text from outside in Markdown: what a reader sees is what was written, and nothing in it acts."""

import html
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ralf_hub.connectors import markdown
from ralf_hub.texts import clean

SIGNS = "@#!%~$&^/\\`*_[]()<>|-+=:.\n\t 0123456789abGHw\u00e9\U0001f600"
ACTING = re.compile(
    r"@[^\s\u200b\\]|#\w|[!%~$^][\w\"{]|\bGH-\d"  # names
    r"|^[\s\u00a0]*/"  # commands
    r"|[<>]|&(?!amp;|lt;|gt;)",  # HTML
    re.MULTILINE | re.IGNORECASE,
)
CODE = re.compile(r"(?<!\\)`([^`]+)`")


def shown(text: str) -> str:
    """Undo the escapes as a Markdown reader would; enough for what `escape` makes, which is its only input here."""
    text = re.sub(r"\\\n", "\n", text)
    text = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text)
    return html.unescape(text).replace("\u200b", "")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a\nb", "a\\\nb"),
        ("a\n\nb\n", "a\n\nb\n"),
        ("end\\\nnext", "end\\\\\\\nnext"),
        ("@alice a@b.c @ end", "@\u200balice a@\u200bb.c @ end"),
        ("#12 # 12 C# #", "#\u200b12 # 12 C# #".replace("#\u200b12", "\\#\u200b12")),
        ("see #12", "see #\u200b12"),
        ("see GH-12 and gh-3", "see GH-\u200b12 and gh-\u200b3"),
        ("!3 wow! ok!", "!\u200b3 wow! ok!"),
        ("10% of %x", "10% of %\u200bx"),
        ("R&D <b>&amp;", "R&amp;\u200bD &lt;b&gt;&amp;\u200bamp;"),
        ("*a* _b_ ~c~ |d| $e$", "\\*a\\* \\_b\\_ \\~\u200bc\\~ \\|d\\| \\$\u200be\\$"),
        ("[a](http://b.c)", "\\[a\\](`http://b.c)`"),
        ("![a](x)", "!\\[a\\](x)"),
        ("/close", "\u200b/close"),
        ("  /close", "\u00a0\u00a0\u200b/close"),
        ("\t/close", "\u00a0\u00a0\u00a0\u00a0\u200b/close"),
        ("a /close", "a /close"),
        ("# a", "\\# a"),
        ("- a\n+ b\n* c", "\\- a\\\n\\+ b\\\n\\* c"),
        ("1. a\n2) b\n3.5", "1\\. a\\\n2\\) b\\\n3\\.5"),
        ("a\n===\nb\n---", "a\\\n\\===\\\nb\\\n\\---"),
        ("    code", "\u00a0\u00a0\u00a0\u00a0code"),
        ("https://x.y/a_b?c=1&d=2 end", "`https://x.y/a_b?c=1&d=2` end"),
        ("www.x.y, awww.z", "`www.x.y,` awww.z"),
        ("ssh://a`b://c", "`ssh://a`\\``b://c`"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("\x1b[31mred\u202e", "red"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert markdown.escape(text) == escaped


@settings(max_examples=600, deadline=None)
@given(st.text(st.sampled_from(SIGNS), max_size=60))
def test_nothing_acts_and_nothing_is_lost(text: str) -> None:
    escaped = markdown.escape(text)
    bare = CODE.sub("", escaped)  # what stands in code is shown as it is
    assert not ACTING.search(bare), ACTING.search(bare)
    read = [
        " ".join(line.split())
        for line in shown(
            CODE.sub(lambda m: html.escape(m[1], quote=False).replace("\\", "\\\\"), escaped)
        ).split("\n")
    ]
    said = [" ".join(line.split()) for line in clean(text).split("\n")]
    assert read == said


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_escaped_without_html(text: str) -> None:
    escaped = CODE.sub("", markdown.escape(text))
    assert "<" not in escaped
    assert not re.search(r"@[^\s\u200b]", escaped)


@pytest.mark.parametrize("char", ["a", "@", "`", "a:", "://", "w", "www.", "#1", "\\", "1", " "])
def test_it_takes_no_longer_the_longer_the_text(char: str) -> None:
    """Twice the text takes about twice the time: nothing from outside can hold up the transaction."""

    def seconds(count: int) -> float:
        text = char * (count // len(char))
        best = 9.0
        for _ in range(3):
            begun = time.perf_counter()
            markdown.escape(text)
            best = min(best, time.perf_counter() - begun)
        return best

    assert seconds(80_000) < 12 * seconds(20_000) + 0.01


def test_titles_are_one_line_without_names_and_never_too_long() -> None:
    assert markdown.title(" a\n@b  #1 `c` *d* ", 100) == "a @\u200bb #\u200b1 `c` *d*"
    assert markdown.title("@x" * 100, 20).startswith("@\u200bx@\u200bx")
    assert len(markdown.title("@x" * 100, 20)) <= 20
    assert markdown.title("\u202e \n", 20) == ""


def test_links_and_marks() -> None:
    assert markdown.link("http://h/#/tasks/T 1>", "a [b]") == "[a \\[b\\]](<http://h/#/tasks/T1>)"
    assert markdown.comment("ralf:evt_1") == "<!-- ralf:evt_1 -->"
