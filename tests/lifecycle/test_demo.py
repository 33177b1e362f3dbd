"""The demo, whole and real: the embedded model, a server, guests over HTTP, training, the gate. Takes minutes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from noria.config import Project
from noria.lifecycle.releases import Records


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_wheel_turns(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "noria.cli.main",
        "demo",
        "--no-serve",
        "--json",
        "--minutes",
        "4",
        "--port",
        "0",
        "--dir",
        str(tmp_path / "desk"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"before", "after", "n", "effect", "interval", "p", "promoted"} <= set(told)
    assert told["n"] >= 50
    assert told["after"]["exact_calls"] > told["before"]["exact_calls"] + 0.2
    assert told["interval"][0] <= told["effect"] <= told["interval"][1]
    assert told["promoted"], told["reasons"]
    with Records.open(Project.load(tmp_path / "desk")) as records:
        live = records.releases.live()
        assert live is not None
        assert (f"r{live.number}", live.number) == (told["live"], 2)
        assert records.releases.reports(live.id)[-1].suites[0].effect == told["effect"]
        assert records.feedback.stats()["total"] == told["feedback"]["visitors"] + told["feedback"]["colleague"]
