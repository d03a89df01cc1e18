"""A short torture, and what its parts must do for it to mean anything. The long one is `make torture`."""

import asyncio
import hashlib
import hmac
import os
from base64 import b64encode
from pathlib import Path

import pytest

from tests.torture import shim
from tests.torture.report import markdown, page, short_of
from tests.torture.run import Total, Wanted, torture
from tests.torture.sink import SECRET, Sink, is_genuine
from tests.torture.wire import Message, first_message, request

SEED = int(os.environ.get("RALF_HUB_SEED", "125118"))
"""Three kills, SIGTERM, SIGSTOP, a reload; a clock that jumps, answers that never come, a full disk."""


@pytest.mark.journey
@pytest.mark.skipif(shim.why_not() is not None, reason=str(shim.why_not()))
async def test_a_round_of_everything_loses_nothing(tmp_path: Path) -> None:
    wanted = Wanted(seed=SEED, minutes=0.0, faults_per_round=6, rounds_per_database=1, clients=12)
    total = await torture(wanted, tmp_path, print)
    assert total.wrong == []
    assert total.done["kill"] >= 1
    assert total.promises > 200
    assert total.delivered > 200
    assert total.lost == total.disordered == 0
    assert total.doubled <= total.doubled_max + total.doubled_by["never answered"]
    print(markdown(total))


def test_the_report_tells_what_was_found() -> None:
    total = Total(Wanted(seed=5, minutes=1.0), rounds=2, promises=1234, lost=1, wrong=["round 2: 1 lost"])
    total.done["kill"] = 3
    text = page(total)
    assert text.startswith("# Torture\n")
    assert "| seed | 5 |" in text
    assert "| accepted (2xx given, records appended) | 1,234 |" in text
    assert "| **lost** | **1** |" in text
    assert "- round 2: 1 lost" in text
    assert "Smaller than a full run: 0 of 60 minutes, 3 of 500 SIGKILLs, 1,234 of 1,000,000 accepted." in text


def test_a_full_run_is_not_called_a_smaller_one() -> None:
    total = Total(Wanted(seed=5, minutes=60.0), seconds=3600.0, promises=1_000_000)
    total.done["kill"] = 500
    assert short_of(total) == ""


# --- the sink -------------------------------------------------------------------------------------


def message(body: bytes, secret: bytes | None = None) -> Message:
    """Return a delivery to the connector `first`, signed with the sink's secret or another."""
    key = bytes(range(24)) if secret is None else secret
    signed = b64encode(hmac.digest(key, b"evt_1.5." + body, hashlib.sha256)).decode()
    raw = request(
        "POST", "/first", body, webhook_id="evt_1", webhook_timestamp="5", webhook_signature=f"v1,{signed}"
    )
    found = first_message(raw)
    assert found is not None
    return found


def test_only_what_is_signed_is_genuine() -> None:
    good, bad = message(b"{}"), message(b"{}", b"another")
    assert SECRET.startswith("whsec_")
    assert is_genuine(good.head, good.body)
    assert not is_genuine(good.head, b"{ }")
    assert not is_genuine(bad.head, bad.body)


@pytest.mark.parametrize(
    ("wrong", "answer", "said"),
    [
        ({"mode": "ok"}, b"HTTP/1.1 200", "taken"),
        ({"mode": "hang"}, None, "hang"),
        ({"mode": "drop"}, b"", "drop"),
        ({"mode": "keep"}, b"", "kept"),
        (
            {"mode": "status", "status": 429, "retry_after": "1"},
            b"HTTP/1.1 429 Said\r\nRetry-After: 1",
            "status",
        ),
        ({"mode": "hang", "only": "second"}, b"HTTP/1.1 200", "taken"),
        ({"mode": "hang", "share": 0.0}, b"HTTP/1.1 200", "taken"),
    ],
)
async def test_the_sink_does_what_it_is_told_and_writes_it_down(
    tmp_path: Path, wrong: dict[str, object], answer: bytes | None, said: str
) -> None:
    log = tmp_path / "log"
    sink = Sink(log, seed=1)
    await sink.listen()
    await sink.obey(wrong)
    given = sink.take(message(b'{"type": "task_created", "data": {"task_id": "T-1", "seq": 7}}'))
    if answer:
        assert given is not None
        assert given.startswith(answer)
    else:
        assert given == answer
    assert f'"said":"{said}"' in log.read_text()
    assert '"seq":7' in log.read_text()
    await sink.close()


async def test_a_sink_that_refuses_is_not_there_and_comes_back_at_the_same_place(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "log", seed=1)
    await sink.listen()
    port = sink.port
    await sink.obey({"mode": "refuse"})
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
    await sink.obey({"mode": "ok"})
    assert sink.port == port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    await writer.wait_closed()
    await sink.close()


def test_a_message_is_whole_with_its_body() -> None:
    raw = request("POST", "/x", b"12345", X_Name="a")
    assert first_message(raw[:-1]) is None
    found = first_message(raw + b"POST")
    assert found is not None
    assert (found.body, found.end) == (b"12345", len(raw))
    assert b"X-Name: a" in found.head
