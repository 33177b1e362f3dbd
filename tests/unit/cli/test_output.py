"""Progress where there is no terminal."""

import pytest

from noria.cli.output import progress_bars


def test_a_note_behind_the_name_makes_no_stage_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as report:
        for step in range(1, 5):
            report(f"tuning (loss {1 / step:.3f})", step, 4)
    assert capsys.readouterr().err.splitlines() == ["tuning (loss 1.000) ...", "tuning (loss 0.250): done"]
