"""What is printed, and progress, where there is no terminal."""

import pytest

from noria.cli.output import _lines, emit, progress_bars, stderr_console  # pyright: ignore[reportPrivateUsage]


def test_a_note_behind_the_name_makes_no_stage_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as report:
        for step in range(1, 5):
            report(f"tuning (loss {1 / step:.3f})", step, 4)
    assert capsys.readouterr().err.splitlines() == ["tuning (loss 1.000) ...", "tuning (loss 0.250): done"]


def told(capsys: pytest.CaptureFixture[str], seconds: float, begin: int = 0) -> list[str]:
    """What is said of a stage of so many seconds, that reports a thousand times."""
    now = 0.0
    report = _lines(lambda: now)
    for step in range(begin, 1001):
        now = seconds * step / 1000
        report(f"training (loss {step})", step, 1000)
    return capsys.readouterr().err.splitlines()


def test_a_long_stage_says_now_and_then_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, 30) == ["training (loss 0) ...", "training (loss 1000): done"]
    hour = told(capsys, 3600)
    assert len(hour) == 11
    assert hour[3] == "training (loss 300): 30% after 0:18:00, about 0:42:00 left"
    assert len(told(capsys, 300)) <= 7
    day = told(capsys, 86_400)
    assert 100 < len(day) < 160


def test_what_is_left_of_a_stage_that_was_gone_on_with_is_told_by_its_own_speed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, 3600, begin=500)
    assert lines[1] == "training (loss 600): 60% after 0:06:00, about 0:24:00 left"


def test_a_command_is_one_line_however_long_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = f"cd /home/ada/{'deep/' * 30} && noria serve"
    emit(False, {}, lambda out: out.print(command))
    stderr_console().print(command)
    assert capsys.readouterr() == (f"{command}\n", f"{command}\n")


def test_a_stage_that_begins_anew_is_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    """As the trials of a search do."""
    report = _lines()
    for done in (0, 5, 10, 0, 10):
        report("tuning (loss 1.0)", done, 10)
    assert capsys.readouterr().err.count("tuning (loss 1.0): done") == 2
