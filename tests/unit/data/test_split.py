"""Properties of the splits: nobody stands on both sides, nothing moves when data are added, training is older than evaluation."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.data import Item, split_by_group, split_by_time

START = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    """Items that share users and conversations in any way, also through each other."""
    rows = draw(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 12), st.integers(0, 50), st.booleans()), max_size=40))
    return [
        Item(key=i, groups=(f"conversation:{c}", *((f"user:{u}",) if named else ())), time=START + timedelta(hours=h))
        for i, (u, c, h, named) in enumerate(rows)
    ]


def groups_of(rows: list[Item], keys: list[object]) -> set[str]:
    return {group for row in rows if row.key in keys for group in row.groups}


@settings(max_examples=150, deadline=None)
@given(items(), st.floats(0, 1), st.integers(0, 3))
def test_no_group_is_on_both_sides(rows: list[Item], share: float, seed: int) -> None:
    split = split_by_group(rows, share, seed)
    assert set(split.sides) == {row.key for row in rows}
    assert not groups_of(rows, split.keys("train")) & groups_of(rows, split.keys("evaluation"))
    shuffled = list(reversed(rows))
    assert dict(split_by_group(shuffled, share, seed).sides) == dict(split.sides)


@settings(max_examples=150, deadline=None)
@given(items(), st.floats(0, 0.9))
def test_training_is_older_and_nobody_is_on_both_sides(rows: list[Item], share: float) -> None:
    split = split_by_time(rows, share)
    assert set(split.sides) | set(split.dropped) == {row.key for row in rows}
    assert not set(split.sides) & set(split.dropped)
    assert not groups_of(rows, split.keys("train")) & groups_of(rows, split.keys("evaluation"))
    times = {row.key: row.time for row in rows if row.time is not None}
    trained, evaluated = ([times[key] for key in split.keys(side)] for side in ("train", "evaluation"))
    if trained and evaluated:
        assert split.cutoff is not None
        assert max(trained) < split.cutoff <= min(evaluated)


def users(num_users: int) -> list[Item]:
    return [Item(key=n, groups=(f"user:{n}",), time=START + timedelta(hours=n)) for n in range(num_users)]


def test_a_user_stays_where_it_was_when_others_come() -> None:
    before, after = (split_by_group(users(n), 0.2).sides for n in (100, 1000))
    assert all(after[key] == side for key, side in before.items())
    assert split_by_group(users(100), 0.2, seed=1).sides != before


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_is_about_what_was_asked(share: float) -> None:
    assert abs(len(split_by_group(users(2000), share).keys("evaluation")) / 2000 - share) < 0.03
    assert len(split_by_time(users(200), share).keys("evaluation")) == 200 * share


def test_a_returning_user_is_evaluated_only_on_what_came_late() -> None:
    rows = [Item(key=f"u{u} {day}", groups=(f"user:{u}",), time=START + timedelta(days=day)) for u, day in [(1, 0), (2, 1), (1, 8), (3, 9)]]
    split = split_by_time(rows, 0.5)
    assert dict(split.sides) == {"u2 1": "train", "u1 8": "evaluation", "u3 9": "evaluation"}
    assert split.dropped == ("u1 0",)
    assert split.cutoff == START + timedelta(days=8)


def test_nothing_to_split() -> None:
    assert split_by_group([], 0.5).sides == {}
    assert split_by_time([], 0.5).sides == {}
