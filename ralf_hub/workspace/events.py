"""Reading events.yaml and events.ldjson in whatever state they are: every record that can be read."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from ralf_hub.model import Json
from ralf_hub.workspace import chunks, values
from ralf_hub.workspace.chunks import START, Chunk, Place, Readable, Scanner
from ralf_hub.workspace.ldjson import JsonScanner, decode
from ralf_hub.workspace.meaning import (
    TASK_FIELDS,
    TIME_FIELDS,
    TYPE_FIELDS,
    Meaning,
    is_placeholder,
    public_part,
    task_id,
    type_name,
)
from ralf_hub.workspace.records import EventRecord, Limits, Problem
from ralf_hub.workspace.scalars import digest, json_safe, pair, time_iso


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read events: the file's name for problems, the zone of naive times, meanings, limits."""

    file: str
    zone: tzinfo = UTC
    meaning: Meaning = field(default_factory=Meaning)
    limits: Limits = field(default_factory=Limits)

    @property
    def is_ldjson(self) -> bool:
        """Whether the file's name says one JSON object a line."""
        return self.file.endswith((".ldjson", ".jsonl", ".ndjson", ".json"))


@dataclass(frozen=True, slots=True)
class Part:
    """What one piece of the file gave: its records, its problems, and where to begin again to see it."""

    place: Place
    resume: Place
    length: int
    records: tuple[EventRecord, ...]
    problems: tuple[Problem, ...]
    ended: bool = True


def iter_events(
    stream: Readable,
    reading: Reading,
    start: Place | None = None,
) -> Iterator[Part]:
    """Yield the parts of an events file from *stream*, which stands at `start.offset`.

    Never raises for what is in the file. Memory is bounded by the limits, whatever the file's size.
    """
    scanner: Iterable[Chunk]
    if reading.is_ldjson:
        scanner = JsonScanner(stream, start or START, reading.limits.record_bytes_max)
    else:
        scanner = Scanner(stream, start or START, reading.limits.record_bytes_max)
    reader = _ChunkReader(reading)
    for chunk in scanner:
        yield reader.part(chunk)


class _ChunkReader:
    """Turns chunks into records; keeps what it learned of lines that repeat."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._simple = values.SimpleReader()

    def part(self, chunk: Chunk) -> Part:
        """Return the records and problems of *chunk*."""
        records: list[EventRecord] = []
        problems: list[Problem] = []
        try:
            if chunk.kind == chunks.SIMPLE:
                self._simple_record(chunk, records, problems)
            elif chunk.kind == chunks.RECORD:
                self._record(chunk, records, problems)
            elif chunk.kind == chunks.JSON:
                self._json(chunk, records, problems)
            elif chunk.kind == chunks.FLOW:
                self._flow(chunk, records, problems)
            elif chunk.kind == chunks.TOO_LONG:
                limit = self._reading.limits.record_bytes_max
                self._problem(
                    problems, chunk.place.line, f"a record longer than record_bytes_max ({limit}); left out"
                )
            else:
                self._problem(problems, chunk.place.line, "not a record; left out")
        except values.UnreadableError as error:
            self._problem(problems, chunk.place.line + error.line, f"not a record ({error}); left out")
        return Part(
            chunk.place,
            chunk.resume or chunk.place,
            len(chunk.data),
            tuple(records),
            tuple(problems),
            chunk.ended,
        )

    def _problem(self, problems: list[Problem], line: int, message: str) -> None:
        problems.append(Problem(self._reading.file, line, message))

    def _simple_record(self, chunk: Chunk, records: list[EventRecord], problems: list[Problem]) -> None:
        found = self._simple.fields(chunk.data)
        if found is None:
            self._record(chunk, records, problems)
            return
        fields, pairs = found
        self._event(fields, chunk.place.line, records, problems, name=digest(pairs), plain=True)

    def _record(self, chunk: Chunk, records: list[EventRecord], problems: list[Problem]) -> None:
        for piece in values.record_pieces(self._text(chunk, problems)):
            line = chunk.place.line
            for offset, why in piece.damage:
                self._problem(problems, line + offset, why)
            damaged = bool(piece.damage)
            self._event(
                piece.fields, line + piece.line, records, problems, damaged=damaged, complete=chunk.ended
            )

    def _json(self, chunk: Chunk, records: list[EventRecord], problems: list[Problem]) -> None:
        value = decode(self._text(chunk, problems))
        if isinstance(value, dict):
            self._event(value, chunk.place.line, records, problems, complete=chunk.ended)
        else:
            self._problem(problems, chunk.place.line, "not an object; left out")

    def _flow(self, chunk: Chunk, records: list[EventRecord], problems: list[Problem]) -> None:
        for line, fields in values.flow_records(self._text(chunk, problems)):
            at = chunk.place.line + line
            if fields is None:
                self._problem(problems, at, "not a mapping of fields; left out")
            else:
                self._event(fields, at, records, problems, complete=chunk.ended)

    def _text(self, chunk: Chunk, problems: list[Problem]) -> str:
        try:
            return chunk.data.decode()
        except UnicodeDecodeError as error:
            line = chunk.place.line + chunk.data.count(b"\n", 0, error.start)
            self._problem(problems, line, "bytes that are not UTF-8; replaced")
            return chunk.data.decode(errors="replace")

    def _event(
        self,
        fields: values.Fields,
        line: int,
        records: list[EventRecord],
        problems: list[Problem],
        *,
        name: str | None = None,
        plain: bool = False,
        damaged: bool = False,
        complete: bool = True,
    ) -> None:
        """Append the event that *fields* say, or the problem why there is none."""
        type_field = next((key for key in TYPE_FIELDS if key in fields), None)
        raw_type = type_name(fields.get(type_field or ""))
        if type_field is None or raw_type is None:
            template = type_field is not None and is_placeholder(fields[type_field])
            self._problem(
                problems, line, "a row of a template; left out" if template else "no event type; left out"
            )
            return
        time_field = next((key for key in TIME_FIELDS if key in fields), None)
        occurred_at = time_iso(fields[time_field], self._reading.zone) if time_field else None
        if occurred_at is None:
            if time_field and is_placeholder(fields[time_field]):
                self._problem(problems, line, "a row of a template; left out")
                return
            self._problem(problems, line, "no timestamp that can be read; recorded without one")
            time_field = None
        name = name or digest(pair(key, value) for key, value in fields.items())
        used: set[str | None] = {type_field, time_field}
        found = _task(fields, used)
        data = {
            k: (v if plain and type(v) is str else json_safe(v)) for k, v in fields.items() if k not in used
        }
        meaning = self._reading.meaning
        hub_type = meaning.hub_type(raw_type, fields)
        if meaning.is_private(raw_type, hub_type):
            data = public_part(data, damaged=damaged)
        records.append(EventRecord(hub_type, raw_type, found, occurred_at, data, name, line, complete))


def _task(fields: values.Fields, used: set[str | None]) -> str | None:
    """Return the task a record is about, and mark its field as used; a garbage id stays in the data."""
    for key in TASK_FIELDS:
        value = fields.get(key)
        if value is None or value == "":
            used.add(key)
        elif (found := task_id(value)) is not None:
            used.add(key)
            return found
    return None


def events_in(data: bytes, reading: Reading) -> tuple[list[EventRecord], list[Problem]]:
    """Return all records and problems in *data*; for small files and tests."""
    records: list[EventRecord] = []
    problems: list[Problem] = []
    for part in iter_events(io.BytesIO(data), reading):
        records.extend(part.records)
        problems.extend(part.problems)
    return records, problems


def as_json(record: EventRecord) -> dict[str, Json]:
    """Return the data the hub keeps of *record*: its fields, and RALF's own type where it was another."""
    data = dict(record.data)
    if record.raw_type != record.type:
        data["ralf_type"] = record.raw_type
    return data
