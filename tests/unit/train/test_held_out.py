"""How time is shared out between steps and validations."""

import pytest

from noria.train.held_out import num_in_time, shared_out


@pytest.mark.parametrize(
    ("seconds", "each", "wanted", "number", "left"),
    [(100.0, 0.1, 10, 10, 98.9), (100.0, 5.0, 10, 2, 85.0), (100.0, 30.0, 10, 1, 40.0), (100.0, 80.0, 10, 1, 10.0)],
)
def test_validations_take_no_more_than_their_share(seconds: float, each: float, wanted: int, number: int, left: float) -> None:
    assert shared_out(seconds, each, wanted) == (number, pytest.approx(left))


def test_what_is_still_to_be_scored_takes_its_time_from_what_is_learnt_from() -> None:
    assert num_in_time(10.0, 2.0, 100) == 500
    assert num_in_time(10.0, 2.0, 100, num_scorings=2) == 300
    assert num_in_time(10.0, 60.0, 3000, num_scorings=2) == 50, "a tenth of the time, however long scoring takes"
