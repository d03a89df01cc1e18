"""A short fuzzing of every target: seeds bent by hypothesis everywhere, and by coverage where atheris is installed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import LENGTH_MAX, TARGETS, Target

ROOT = Path(__file__).parents[2]
PIECES = st.sampled_from(
    [b"\n", b"- ", b": ", b"  ", b"---\n", b"'", b'"', b"{", b"}", b"[", b"]", b"&a ", b"*a", b"|", b">", b"#", b"%", b"!",
     b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\t", b"${", b"$${", b"~", b".inf", b".nan", b"<<", b"=", b"1e999", b"0x",
     b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"```", b"**", b"file:", b"whsec_", b"v1,", b"\xe2\x80\xa8", b"9" * 400]
) | st.binary(max_size=8)  # fmt: skip


@st.composite
def bent(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Return a seed with pieces cut out, doubled and put in."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        data = data[:start] + draw(st.one_of(PIECES, st.just(data[start:end] * 2))) + data[end:]
    return data[:LENGTH_MAX]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_bytes_make_a_parser_fail(target: Target) -> None:
    for seed in target.seeds:
        target.run(seed)

    @settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(st.one_of(bent(target.seeds), st.binary(max_size=200)))
    @example(b"")
    def none_fails(data: bytes) -> None:
        target.run(data)

    none_fails()


@pytest.mark.journey
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed: make fuzz installs it"
)
def test_a_short_run_led_by_coverage_finds_nothing(tmp_path: Path) -> None:
    report = tmp_path / "fuzz.md"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--cases",
            "1500",
            "--report",
            report,
            "--kept",
            tmp_path / "kept",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert report.read_text(encoding="utf-8").count("| 1,500 |") == len(TARGETS)
    print(done.stdout)
