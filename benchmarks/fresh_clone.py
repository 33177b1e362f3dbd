"""The two commands of the README as a newcomer runs them, and the kills: a fresh clone, an empty home, nothing installed.

    python benchmarks/fresh_clone.py [--no-kills]

Clones this repository's last commit, runs `make demo` (ending with the table) and `make test`, and then the long tests that kill chat, improve and
promote at random points. Reported are the seconds of each, installation included, what the demo's table said, and how many tests passed.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from _harness import ROOT, print_figures, write_results

KEPT_OUT = ("VIRTUAL_ENV", "PYTHONPATH", "OMP_NUM_THREADS")
NUM_KILLS = {"chat": 200, "promote": 200, "improve": 60}
"""Kills of the long tests, as their names say."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-kills", action="store_true", help="leave out the long tests that kill")
    return parser.parse_args()


def run(command: list[str], clone: Path, home: Path, **variables: str) -> tuple[str, float]:
    """Standard output and seconds of a command in the clone. Ends the benchmark if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in KEPT_OUT and not name.startswith("NORIA")}
    started = time.monotonic()
    done = subprocess.run(command, cwd=clone, env={**environment, "HOME": str(home), **variables}, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout, round(time.monotonic() - started, 1)


def demo(clone: Path, home: Path) -> dict[str, Any]:
    out, seconds = run(["make", "demo"], clone, home, NORIA_DEMO_FLAGS="--no-serve --json")
    told = json.loads(out[out.index("{") :])
    figures: dict[str, Any] = {"demo_seconds": seconds, "demo_promoted": told["promoted"]}
    figures |= {f"demo_{name}": told[name] for name in ("n", "effect", "p")}
    for side in ("before", "after"):
        figures |= {f"demo_{name}_{side}": value for name, value in told[side].items() if isinstance(value, int | float)}
    return figures


def tests(clone: Path, home: Path) -> dict[str, Any]:
    out, seconds = run(["make", "test"], clone, home)
    return {"test_seconds": seconds, **{f"tests_{word}": count for word, count in _counts(out).items()}}


def kills(clone: Path, home: Path) -> dict[str, Any]:
    names = " or ".join(f"killed_at_{count}" for count in sorted(set(NUM_KILLS.values()), reverse=True))
    command = [".venv/bin/python", "-m", "pytest", "-q", "-n", "2", "--timeout", "3600", "tests/invariants/test_kill.py", "-k", names]
    out, seconds = run(command, clone, home, OMP_NUM_THREADS="1")
    if _counts(out).get("passed") != len(NUM_KILLS):
        raise SystemExit(f"{len(NUM_KILLS)} tests were to kill; the run says:\n{out[-500:]}")
    return {"kill_seconds": seconds, **{f"kills_of_{name}": count for name, count in NUM_KILLS.items()}}


def _counts(out: str) -> dict[str, int]:
    """`12 passed, 1 skipped` in pytest's last line."""
    return {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", out.splitlines()[-1])}


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="noria-clone-") as scratch:
        clone, home = Path(scratch) / "noria", Path(scratch) / "home"
        home.mkdir()
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        parts = [demo, tests] if arguments.no_kills else [demo, tests, kills]
        figures: dict[str, Any] = {}
        for part in parts:
            figures |= part(clone, home)
            write_results("fresh_clone", figures)
            print_figures(figures)


if __name__ == "__main__":
    main()
