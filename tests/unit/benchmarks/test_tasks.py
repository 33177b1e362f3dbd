"""The benchmarks of tasks and methods: each set's own base and table, and parts that belong to one table."""

import importlib
import json
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("tasks")


@pytest.fixture
def methods(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("sgd_methods")


def test_each_set_has_its_own_base(tasks: ModuleType) -> None:
    commands = {name: tasks.tune_command(name, Path("work"), 1, "bert", ["batch=16"]) for name in tasks.SETS}
    bases = {name: command[command.index("--base") + 1] for name, command in commands.items() if "--base" in command}
    assert bases == {"resume_ner": "bert", "eprstmt": "bert", "tnews": "bert", "banking77_large": "all-mpnet-base-v2"}
    assert all(command[-1] == "batch=16" and "seed=1" in command for command in commands.values())


def test_intents_that_are_none_are_never_learnt_and_other_ones_choose_the_threshold(tasks: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "banking77").mkdir()
    for side, count in (("train", 60), ("test", 10)):
        lines = [f"{side} {number} of {name},{name}" for name in "abcdefgh" for number in range(count)]
        (tmp_path / "banking77" / f"{side}.csv").write_text("\n".join(["text,category", *lines]) + "\n")
    learnt, dev, test = tasks.banking77_scope(tmp_path, 0)
    known = {row["label"] for row in learnt}
    assert len(known) == 6
    assert {row["label"] for row in dev} == {row["label"] for row in test} == known | {"out_of_scope"}
    chosen_by, measured_by = ({row["text"].split()[-1] for row in side if row["label"] == "out_of_scope"} for side in (dev, test))
    assert (len(chosen_by), len(measured_by), chosen_by & measured_by, (chosen_by | measured_by) & known) == (1, 1, set(), set())


def test_each_set_is_a_table_with_the_command_that_makes_it(tasks: ModuleType) -> None:
    figures = tasks.figures_of([{"test": 0.5, "dev": 0.6, "minutes": 1.0}, {"test": 0.7, "dev": 0.6, "minutes": 3.0}])
    assert figures == {"seed_0": 0.5, "seed_1": 0.7, "mean": 0.6, "spread": pytest.approx(0.2), "dev": 0.6, "minutes": 2.0}
    options = tasks.parser().parse_args(["--data", "d"])
    assert tasks.command_of(options, "tnews") == "python benchmarks/tasks.py --data d --only tnews --seeds 3"
    options = tasks.parser().parse_args(["--data", "d", "--seeds", "1", "--chinese-base", "bert", "--set", "batch=16"])
    assert tasks.command_of(options, "tnews") == "python benchmarks/tasks.py --data d --only tnews --seeds 1 --chinese-base bert --set batch=16"


def test_methods_have_a_mean_and_a_spread_and_are_gathered(methods: ModuleType, tmp_path: Path) -> None:
    runs = [{"call_exact": 0.5, "n": 60, "minutes": 8.0, "gigabytes": 2.0}, {"call_exact": 0.7, "n": 60, "minutes": 8.0, "gigabytes": 3.0}]
    figures = methods.figures_of("lora", runs)
    assert figures["lora_call_exact"] == pytest.approx(0.6)
    assert figures["lora_call_exact_spread"] == pytest.approx(0.2)
    assert [name for name in figures if name.endswith("_spread")] == ["lora_call_exact_spread"]
    assert not [name for name in methods.figures_of("lora", runs[:1]) if name.endswith("_spread")]
    options = methods.parser().parse_args(["--data", "d", "--only", "full", "--seeds", "2"])
    command = methods.command_of(options, figures)
    assert command == "python benchmarks/sgd_methods.py --data d --minutes 8 --only lora --seeds 2"
    path = tmp_path / "made.json"
    assert methods.earlier(path, partial(methods.command_of, options), "abc") == {}
    path.write_text(json.dumps({"commit": "abc", "command": command, "figures": figures}))
    assert methods.earlier(path, partial(methods.command_of, options), "abc") == figures
    assert methods.earlier(path, partial(methods.command_of, options), "abd") == {}
    other = methods.parser().parse_args(["--data", "d", "--only", "full"])
    assert methods.earlier(path, partial(methods.command_of, other), "abc") == {}
    path.write_text(path.read_text().replace("abc", "abc+"))
    assert methods.earlier(path, partial(methods.command_of, options), "abc+") == {}
    both = figures | {"full_minutes": 8.0}
    assert methods.command_of(options, both) == "python benchmarks/sgd_methods.py --data d --minutes 8 --only full lora --seeds 2"
    assert "--only" not in methods.command_of(options, {f"{name}_minutes": 1.0 for name in methods.METHODS})


@pytest.mark.parametrize(
    ("tags", "whole"),
    [
        ("O S-ORG B-ORG E-ORG O", True),
        ("B-ORG M-ORG E-ORG B-TITLE E-TITLE", True),
        ("B-ORG M-ORG", False),
        ("M-ORG E-ORG", False),
        ("B-ORG O", False),
        ("B-ORG M-TITLE E-TITLE", False),
        ("B-ORG B-ORG E-ORG", False),
    ],
)
def test_rows_that_break_their_scheme_are_known(tasks: ModuleType, tags: str, whole: bool) -> None:
    assert tasks._is_whole(tags.split()) == whole
