"""Whether a record is in the middle of a quoted text, while it is cut out line by line.

RALF's hooks put a person's prompt between quotes as it is, with all its lines and quotes. Such a
text may look like anything, also like the beginning of a record, so it matters where it ends.
"""

import re
from typing import Final

_FIELD = re.compile(rb"([ ]*(?:-[ \t]+)?)[\"']?[A-Za-z_][\w-]*[\"']?:(?:[ \t]+([\"'])?|$)")
_DASHES = re.compile(rb"[ ]*(?:-[ \t]+)?")
_CLOSED: Final = {
    b'"': re.compile(rb'"(?:[^"\\]|\\.)*"\s*(?:#.*)?'),
    b"'": re.compile(rb"'(?:[^']|'')*'\s*(?:#.*)?"),
}


class OpenQuote:
    """Follows the lines of one record.

    Only the record's own fields, at its column, are looked at: what stands deeper is indented as
    long as it is YAML, so nothing in it looks like the beginning of a record.

    A text becomes `raw` when a line of it stands further left than the record's fields. Then a quote
    at the end of a line need not be the end of the text: it is if a field follows.
    """

    def __init__(self) -> None:
        self.raw = False
        self._mark = b""
        self._open = False
        self._column = -1

    @property
    def is_open(self) -> bool:
        """Whether the next line may still belong to the text."""
        return self._open or self.raw

    def begin(self, line: bytes) -> None:
        """Start with *line*, the first of a record. In one in brackets nothing is looked at."""
        found = _DASHES.match(line)
        at = found.end() if found else 0
        self.raw = self._open = False
        self._column = -1 if line[at : at + 1] in {b"{", b"["} else at
        self._field(line)

    def more(self, line: bytes) -> None:
        """Go on with *line*, another one of the record."""
        if self._column < 0 or not line.strip():
            return
        if self._open:
            self.raw = self.raw or len(line) - len(line.lstrip(b" ")) < self._column
            self._open = not _closes(self._mark, line.rstrip())
        elif not self._field(line) and self.raw:
            self._open = not _closes(self._mark, line.rstrip())

    def forget(self) -> None:
        """Stop looking, until the next record begins."""
        self.raw = self._open = False
        self._column = -1

    def _field(self, line: bytes) -> bool:
        """Look at *line* if it is one of the record's fields; return whether it is."""
        found = _FIELD.match(line)
        if found is None or found.end(1) != self._column:
            return False
        self.raw = self._open = False
        if found.group(2):
            self._mark = found.group(2)
            value = line[found.start(2) :].rstrip()
            ends = _CLOSED[self._mark].fullmatch(value) or (len(value) > 1 and _closes(self._mark, value))
            self._open = not ends
        return True


def _closes(mark: bytes, text: bytes) -> bool:
    """Return whether *text* ends with the quotation *mark*, not escaped."""
    if not text.endswith(mark):
        return False
    body = text[:-1]
    escape = mark if mark == b"'" else b"\\"
    return (len(body) - len(body.rstrip(escape))) % 2 == 0
