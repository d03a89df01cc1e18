"""`python -m tests.torture`: torture hubs for some minutes and write down what came of it."""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.torture import shim
from tests.torture.report import markdown, page
from tests.torture.run import Wanted, torture


def main() -> int:
    """Return 0 when every promise held."""
    parser = argparse.ArgumentParser(description=str(__doc__))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(31))
    parser.add_argument("--faults", type=int, default=10, help="of the process, per round")
    parser.add_argument("--rounds", type=int, default=4, help="per database")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--gap", type=float, default=1.5, help="seconds between two of them at most")
    parser.add_argument("--report", type=Path, help="write the table to this file")
    given = parser.parse_args()
    reason = shim.why_not()
    if reason is not None:
        sys.stderr.write(f"torture: not here: {reason}\n")
        return 1
    wanted = Wanted(given.seed, given.minutes, given.faults, given.rounds, given.clients, given.gap)
    sys.stdout.write(f"seed {wanted.seed}, {wanted.minutes:g} minutes\n")

    def say(line: str) -> None:
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        sys.stdout.flush()

    folder = Path(tempfile.mkdtemp(prefix="ralf-hub-torture-"))
    total = asyncio.run(torture(wanted, folder, say))
    sys.stdout.write("\n" + markdown(total))
    if given.report is not None:
        given.report.write_text(page(total), encoding="utf-8")
    if total.wrong:
        sys.stderr.write(f"torture: not all held; the files are in {folder}\n")
        return 1
    folder.rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main())
