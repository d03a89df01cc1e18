"""The disk that is played back: what was synced stays, of the rest anything may."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.torture.powercut import SECTOR_BYTES, Entry, cuts, read


def write(name: str, at: int, data: bytes) -> Entry:
    return Entry("write", name, at, data)


def states(entries: Sequence[Entry], stop: int | None = None) -> set[tuple[tuple[str, bytes], ...]]:
    """Return every state that a hundred cuts at one place leave."""
    at = len(entries) if stop is None else stop
    found = [next(cuts(entries, [at], Random(seed)))[1] for seed in range(100)]
    return {tuple(sorted(files.items())) for files in found}


SAFE = [write("a", 0, b"x" * 1024), Entry("sync", "a", 1), Entry("sync", "/", 1)]


def test_what_was_synced_stays_whole() -> None:
    assert states(SAFE) == {(("a", b"x" * 1024),)}


def test_what_was_not_may_be_there_or_not_or_in_part() -> None:
    found = {state[0][1] for state in states([*SAFE, write("a", 0, b"y" * 1024)])}
    assert found == {b"x" * 1024, b"y" * 1024, b"y" * SECTOR_BYTES + b"x" * SECTOR_BYTES}


def test_later_writes_may_be_there_without_earlier_ones() -> None:
    found = {state[0][1] for state in states([*SAFE, write("a", 0, b"y"), write("a", 1, b"z")])}
    assert {b"xz" + b"x" * 1022, b"yx" + b"x" * 1022, b"yz" + b"x" * 1022} <= found


def test_a_sync_covers_what_was_done_before_it_began() -> None:
    entries = [write("a", 0, b"1"), write("a", 1, b"2"), Entry("sync", "a", 1), Entry("sync", "/", 2)]
    assert states(entries) == {(("a", b"1"),), (("a", b"12"),)}


def test_a_name_is_safe_with_its_folder_only() -> None:
    entries = [write("a", 0, b"1"), Entry("sync", "a", 1)]
    assert states(entries) == {(), (("a", b"1"),)}


def test_an_unlinked_file_may_come_back_until_its_folder_is_synced() -> None:
    gone = [*SAFE, Entry("unlink", "a")]
    assert states(gone) == {(), (("a", b"x" * 1024),)}
    assert states([*gone, Entry("sync", "/", len(gone))]) == {()}


def test_a_file_made_anew_after_an_unlink_has_nothing_of_the_old_one() -> None:
    entries = [
        *SAFE,
        Entry("unlink", "a"),
        write("a", 0, b"new"),
        Entry("sync", "a", 5),
        Entry("sync", "/", 5),
    ]
    assert states(entries) == {(("a", b"new"),)}


def test_a_truncation_cuts_and_lengthens() -> None:
    entries = [*SAFE, Entry("truncate", "a", 2), Entry("sync", "a", 4), Entry("truncate", "a", 4)]
    assert states([*entries, Entry("sync", "a", 6)]) == {(("a", b"xx\0\0"),)}


def test_a_write_beyond_the_end_leaves_a_hole() -> None:
    entries = [write("a", 3, b"x"), Entry("sync", "a", 1), Entry("sync", "/", 1)]
    assert states(entries) == {(("a", b"\0\0\0x"),)}


def test_a_cut_sees_nothing_of_what_comes_after_it() -> None:
    assert states([*SAFE, write("a", 0, b"later")], stop=3) == states(SAFE)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = tmp_path / "record"
    record.write_bytes(
        b"write 8 5 hub.db\nab\nc\ntruncate 4 hub.db-wal\nanswer 3\nHTTsync 2 /\nunlink hub.db-wal\n"
    )
    assert read(record) == [
        Entry("write", "hub.db", 8, b"ab\nc\n"),
        Entry("truncate", "hub.db-wal", 4),
        Entry("answer", data=b"HTT"),
        Entry("sync", "/", 2),
        Entry("unlink", "hub.db-wal"),
    ]
