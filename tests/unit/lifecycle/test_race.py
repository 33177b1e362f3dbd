"""The race of methods over folders that are made up here: who goes on, what is kept, and what a method that fails does to the others."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from noria.errors import ConfigError, DataError, DependencyError, ModelError
from noria.evaluate.counted import Counted
from noria.lifecycle.race import RUNNERS, asking_seconds, num_rows, race, refuse_wrong
from noria.lifecycle.standing import Standing
from noria.train.task import Tuned

FAULTS = [ModelError("no weights"), ConfigError("not for these rows"), DataError("line 3 is too long"), DependencyError("not installed")]
REQUEST: dict[str, Any] = {"settings": {"--base": None}, "files": []}
Scores = Mapping[str, tuple[float, ...]]
"""What each method scores in its rounds."""


def raced(
    out: Path, scores: Scores, failing: Mapping[str, Exception] | None = None, request: dict[str, Any] = REQUEST, asking: float = 0.0
) -> tuple[Tuned, list[str]]:
    made: dict[Path, float] = {}

    def make(method: str, minutes: float, folder: Path) -> Tuned:
        if failing and method in failing:
            raise failing[method]
        number = int(folder.parent.name.removeprefix("round-"))
        made[folder] = scores[method][min(number, len(scores[method])) - 1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_text(f"{method} {number}")
        metrics = {"train_seconds": minutes, "score": made[folder]}
        (folder / "tuned.json").write_text(json.dumps({"request": {}, "metrics": metrics}))
        return Tuned(folder=folder, metrics=metrics)

    def ask(folder: Path) -> Standing:
        right = [place < made[folder] * 100 for place in range(100)]
        return Standing(metric="accuracy", counted=Counted.passed("accuracy", right), groups=[str(place) for place in range(100)])

    said: list[str] = []
    return race(list(scores), 3.0, request, out, make, ask, said.append, lambda _: asking), said


def test_the_better_half_goes_on_and_the_best_measured_folder_is_kept(tmp_path: Path) -> None:
    """A method that learns by time may do worse in a later round: its better folder counts."""
    done, said = raced(tmp_path / "out", {"retrieval": (0.5,), "head": (0.6,), "lora": (0.9, 0.7), "full": (0.8, 0.85)})
    assert done.metrics["method"] == "lora"
    assert (tmp_path / "out" / "weights").read_text() == "lora 1"
    told = json.loads((tmp_path / "out" / "race.json").read_text())
    assert [[lap["method"] for lap in laps] for laps in told["rounds"]] == [["retrieval", "head", "lora", "full"], ["lora", "full"]]
    assert all(one["effect"] <= 0 for one in told["against_the_best"].values())
    assert said[0].startswith("Round 1 of 2: retrieval 0.5000, head 0.6000")
    assert not (tmp_path / "out" / ".race").exists()


@pytest.mark.parametrize("error", FAULTS)
def test_a_method_that_fails_leaves_the_race_to_the_others(tmp_path: Path, error: Exception) -> None:
    done, said = raced(tmp_path / "out", {"retrieval": (0.5,), "lora": (0.9,)}, {"lora": error})
    assert done.metrics["method"] == "retrieval"
    assert f"lora did not finish ({error})" in said[0]


def test_where_none_finishes_the_first_reason_is_told_and_the_folder_is_free(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No method could finish: no weights"):
        raced(tmp_path / "out", {"head": (0.5,), "lora": (0.9,)}, dict.fromkeys(("head", "lora"), ModelError("no weights")))
    assert not (tmp_path / "out").exists()


def test_a_race_on_another_base_is_another_race(tmp_path: Path) -> None:
    raced(tmp_path / "out", {"head": (0.5,), "lora": (0.9,)})
    with pytest.raises(ConfigError, match="`--base` was None and is 'b'"):
        raced(tmp_path / "out", {"head": (0.5,), "lora": (0.9,)}, request={"settings": {"--base": "b"}, "files": []})


def test_all_rounds_with_their_asking_take_the_minutes_given(tmp_path: Path) -> None:
    """Methods that run once have their share of the first round, and leave the later ones to the others."""
    scores = {"retrieval": (0.9,), "head": (0.6,), "lora": (0.8,), "full": (0.7,)}
    raced(tmp_path / "out", scores, asking=9.0)
    rounds = json.loads((tmp_path / "out" / "race.json").read_text())["rounds"]
    assert [[(lap["method"], lap["minutes"]) for lap in laps] for laps in rounds] == [
        [("retrieval", 0.225), ("head", 0.225), ("lora", 0.225), ("full", 0.225)],
        [("retrieval", 0.225), ("lora", 1.35)],
    ]
    assert 60 * (4 * 0.225 + 1.35) + 5 * 9 == 60 * 3.0  # `raced` gives three minutes
    raced(tmp_path / "short", scores, asking=90.0)
    [first, _] = json.loads((tmp_path / "short" / "race.json").read_text())["rounds"]
    assert [lap["minutes"] for lap in first] == [pytest.approx(0.2 * 1.5 / 4)] * 4


@pytest.mark.parametrize(
    ("task", "minutes", "rows"),
    [("classify", 20.0, 300), ("classify", 2.0, 32), ("chat", 20.0, 40), ("tools", 20.0, 160), ("score", 20.0, 300), ("chat", 0.1, 30)],
)
def test_as_many_rows_are_asked_as_leave_time_to_train(task: str, minutes: float, rows: int) -> None:
    assert num_rows(task, {method: {} for method in RUNNERS[task]}, minutes) == rows


def test_votes_and_thoughts_take_their_time() -> None:
    once = asking_seconds("classify", "prompting", 10)
    assert asking_seconds("classify", "prompting", 10, {"votes": 5}) == 5 * once
    assert asking_seconds("classify", "prompting", 10, {"votes": 5, "thought": True}) > 10 * once
    assert asking_seconds("classify", "head", 10) == asking_seconds("chat", "retrieval", 10) == 0.0
    methods = {"prompting": {"votes": 5}}
    assert num_rows("classify", methods, 10.0) < num_rows("classify", {"prompting": {}}, 10.0)


def test_a_method_is_called_worse_where_it_is_so_among_all_that_are_tested(tmp_path: Path) -> None:
    """Six rows of a hundred are found by one test (p 0.03), and are not the worst of five."""
    near = {"lora": (0.9,), "full": (0.84,)}
    raced(tmp_path / "two", near)
    assert json.loads((tmp_path / "two" / "race.json").read_text())["against_the_best"]["full"]["worse"]
    raced(tmp_path / "more", {**near, "head": (0.85,), "contrast": (0.85,), "retrieval": (0.85,), "prompting": (0.1,)})
    told = json.loads((tmp_path / "more" / "race.json").read_text())["against_the_best"]
    assert told["full"]["p"] < 0.05 < told["full"]["p_holm"]
    assert [method for method, one in told.items() if one["worse"]] == ["prompting"]


OWN: dict[str, dict[str, Any]] = {"retrieval": {"encoder": "e"}, "head": {"layers": 9}, "lora": {"layers": 9, "rank": 4}}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({("head", "layers"), ("lora", "layers")}, "head, layers"),
        ({("retrieval", "encoder")}, "retrieval, encoder"),
        ({("head", "layers")}, None),
        ({("head", None), ("head", "layers")}, None),
        ({("head", None), ("head", "layers"), ("lora", "layers")}, "lora, layers"),
        ({("retrieval", None), ("retrieval", "encoder")}, None),
    ],
)
def test_a_setting_stops_the_race_where_every_method_that_heeds_it_refuses_it(wrong: set[tuple[str, str | None]], told: str | None) -> None:
    """What a method cannot do without any setting is no fault of the settings."""

    def fault(method: str, settings: Mapping[str, Any]) -> ConfigError | None:
        name = next(iter(settings), None)
        return ConfigError(f"{method}, {name}") if (method, name) in wrong else None

    if told is None:
        refuse_wrong(OWN, fault)
    else:
        with pytest.raises(ConfigError, match=told):
            refuse_wrong(OWN, fault)
