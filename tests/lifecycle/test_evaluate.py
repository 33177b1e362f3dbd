"""`noria evaluate` on the embedded model."""

import json
from pathlib import Path

import pytest

from noria.cli.main import run
from noria.templates import make_project


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_base_weights_against_the_live_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = make_project("front-desk", tmp_path / "desk")
    lines = (desk / "evals" / "safety.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:12]
    (tmp_path / "few.jsonl").write_text("".join(lines), encoding="utf-8")
    out = tmp_path / "report.json"
    arguments = ["evaluate", "--task", "suite", "--data", str(tmp_path / "few.jsonl"), "--against", "smollm2-135m", "--out", str(out)]
    assert run([*arguments, "--project", str(desk), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(out.read_text(encoding="utf-8"))
    assert (told["task"], told["n"], told["test"]) == ("suite", 12, "exact McNemar, two-sided")
    assert told["intervals"]["pass"][0] <= told["metrics"]["pass"] <= told["intervals"]["pass"][1]
    assert -1 <= told["interval"][0] <= told["effect"] <= told["interval"][1] <= 1
