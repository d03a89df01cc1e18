# noqa: INP001 - docs/ is a folder of pages, not a package; mkdocs loads this file by its name
"""What mkdocs cannot say in mkdocs.yml: the page of changes, and lists as GitHub reads them."""

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

_ITEM: Final = re.compile(r"(?:[-*]|\d+\.) ")
_SHOWN: Final = re.compile(r"^<!-- prints -->\n```(\w+)$", re.MULTILINE)


def on_files(files: Files, config: Any) -> Files:
    """Add `changes.md`, which is the CHANGELOG.md at the top of the repository."""
    changes = Path(config.config_file_path).with_name("CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "changes.md", content=changes))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Make the page one for Python-Markdown.

    It needs an empty line before a list that follows a paragraph, which GitHub does not. What is printed looks different
    from what is typed.
    """
    markdown = _SHOWN.sub(r"``` { .\1 .prints .no-copy }", markdown)
    lines: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        fenced ^= line.startswith("```")
        before = lines[-1] if lines else ""
        if (
            not fenced
            and _ITEM.match(line)
            and before.strip()
            and not (_ITEM.match(before) or before[0] == " ")
        ):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
