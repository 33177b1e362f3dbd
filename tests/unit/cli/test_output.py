"""What is printed, and progress, where there is no terminal."""

import pytest

from noria.cli.output import emit, progress_bars, stderr_console


def test_a_note_behind_the_name_makes_no_stage_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as report:
        for step in range(1, 5):
            report(f"tuning (loss {1 / step:.3f})", step, 4)
    assert capsys.readouterr().err.splitlines() == ["tuning (loss 1.000) ...", "tuning (loss 0.250): done"]


def test_a_command_is_one_line_however_long_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = f"cd /home/ada/{'deep/' * 30} && noria serve"
    emit(False, {}, lambda out: out.print(command))
    stderr_console().print(command)
    assert capsys.readouterr() == (f"{command}\n", f"{command}\n")
