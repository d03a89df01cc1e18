"""The site: built strictly, whole, readable without a network, and rendered as it was meant."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from tests.snippets import CHECKOUT

pytest.importorskip("material", reason="mkdocs-material is not installed")

_FETCHED: Final = {
    "script": "src", "link": "href", "img": "src", "source": "srcset", "iframe": "src", "video": "src",
}  # fmt: skip


class Page(HTMLParser):
    """What of a page a browser would fetch, and the text of its paragraphs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.paragraphs: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in _FETCHED and not {"canonical", "prev", "next"} & set((given.get("rel") or "").split()):
            self.fetched.append(given.get(_FETCHED[tag]) or "")
        if tag == "p":
            self._inside = True
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "p"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.paragraphs[-1] += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        check=False,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    yield folder
    shutil.rmtree(folder)


def pages(site: Path) -> dict[str, Page]:
    return {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
    }


def test_every_page_is_in_the_site(site: Path) -> None:
    docs = CHECKOUT / "docs"
    sources = {path.relative_to(docs).with_suffix(".html") for path in docs.rglob("*.md")}
    index = {path.with_name("index.html") if path.stem == "README" else path for path in sources}
    here = {path.relative_to(site) for path in site.rglob("*.html")}
    assert index - here == {Path("adr/template.html")}
    assert here - index == {Path("404.html"), Path("changes.html")}


def test_it_is_read_without_a_network(site: Path) -> None:
    for name, page in pages(site).items():
        foreign = [address for address in page.fetched if re.match(r"(https?:)?//", address)]
        assert foreign == [], f"{name} fetches {foreign}"
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        found = re.findall(r"""(?:@import|url\()\s*["']?((?:https?:)?//[^"')]*)""", text)
        assert found == [], f"{style.name} fetches {found}"


def test_lists_and_tables_are_not_run_into_paragraphs(site: Path) -> None:
    for name, page in pages(site).items():
        for text in page.paragraphs:
            assert not re.search(r"\n\s*(?:[-*|]|\d+\.) ", text), f"{name}: {text[:200]}"
