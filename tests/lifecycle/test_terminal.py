"""`noria chat` with a scripted model: answers, tool calls and thumbs."""

import io
from pathlib import Path

import pytest

from noria.agent import AgentConfig, Toolbox
from noria.lifecycle.releases import Records
from noria.lifecycle.terminal import chat_in_terminal
from noria.schema import Release
from noria.serve import Serving
from noria.testing import ScriptedGenerator
from noria.testing.project import write_small_project


def test_a_talk_in_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    project = write_small_project(tmp_path / "desk")
    script = ["Good evening!", {"find_table": {"day": "2026-03-04", "guests": 2}}, "T4 is free."]

    def load(release: Release) -> Serving:
        return Serving(
            release=release,
            generator=ScriptedGenerator(script),
            toolbox=Toolbox.load(project.root / "tools.py"),
            traces=records.traces,
            state_dir=project.state_dir,
            config=AgentConfig(),
            system_prompt="You are the desk.",
        )

    monkeypatch.setattr("sys.stdin", io.StringIO("/up\nHello\n\nA table for two?\n/down\n/quit\n"))
    with Records.open(project) as records:
        chat_in_terminal(project, None, load)
        thumbs = [(f.value, f.role) for f in records.feedback.list(kind="thumb")]
    shown = capsys.readouterr().out
    assert shown.startswith("desk r1. Judge an answer with /up or /down")
    assert "There is no answer to judge yet." in shown
    assert "> Good evening!\n> > [find_table(day=2026-03-04, guests=2)]\nT4 is free.\n> Kept.\n> " in shown
    assert thumbs == [(False, "user")]
