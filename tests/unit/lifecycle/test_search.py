"""A search for settings over trials that are made up here: what it chooses, what it keeps, and what it does after a kill."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from transformers import BertConfig, BertForSequenceClassification

from noria.errors import ConfigError, ModelError
from noria.lifecycle.search import LOOK_AGAIN_SECONDS, search
from noria.lifecycle.search_space import Space, space_of, space_of_writing
from noria.store import claim
from noria.train import TuneConfig
from noria.train.methods import learning_parameters, num_learning, with_method
from noria.train.task import Report, Tuned, Watch
from noria.train.task_config import TaskConfig

Score = Callable[[TaskConfig], float]
REQUEST: dict[str, Any] = {"settings": {"--search": 4}, "files": [["train.jsonl", 10]]}


def made_up(score: Score) -> Any:
    """What tunes: a folder with a file of weights, scored by its settings."""

    def tuned(settings: TaskConfig, folder: Path, report: Report, watch: Watch) -> Tuned:
        folder.mkdir(parents=True, exist_ok=True)
        metrics = {"score": score(settings), "num_steps": 1}
        report("tuning", 1, 1)
        watch(1, metrics["score"])
        (folder / "model.safetensors").write_text(str(settings.learning_rate))
        (folder / "tuned.json").write_text(json.dumps({"request": {"settings": {}, "files": []}, "metrics": metrics}))
        return Tuned(folder=folder, metrics=metrics)

    return tuned


def space(config: TaskConfig, task: str = "classify", num_learning: int = 10**6) -> Space:
    return space_of(config, task, num_learning)


def by_rate(settings: TaskConfig) -> float:
    return -abs(settings.learning_rate - 2e-4) if settings.learning_rate else -1.0


def searched(out: Path, tuned: Any, request: dict[str, Any] = REQUEST, num_trials: int = 4) -> tuple[Tuned, list[str]]:
    said: list[str] = []
    return search(TaskConfig(), space(TaskConfig()), num_trials, request, out, tuned, lambda *_: None, said.append), said


def test_a_folder_of_another_request_is_refused(tmp_path: Path) -> None:
    made, _ = searched(tmp_path / "out", made_up(by_rate))
    assert searched(tmp_path / "out", made_up(by_rate))[0].metrics == made.metrics
    for other in ({**REQUEST, "settings": {"--search": 9}}, {**REQUEST, "files": [["train.jsonl", 11]]}):
        with pytest.raises(ConfigError, match="was begun"):
            searched(tmp_path / "out", made_up(by_rate), other)


def test_what_plain_tuning_made_is_no_search(tmp_path: Path) -> None:
    tmp_path.joinpath("tuned.json").write_text(json.dumps({"request": {"settings": {"--search": None}, "files": []}, "metrics": {"score": 0.1}}))
    with pytest.raises(ConfigError, match="`--search` was None and is 4"):
        searched(tmp_path, made_up(by_rate))


def test_a_trial_that_fails_ends_no_search(tmp_path: Path) -> None:
    num_begun = 0

    def score(settings: TaskConfig) -> float:
        nonlocal num_begun
        num_begun += 1
        if num_begun == 2:
            raise ModelError("The loss is nan.")
        return by_rate(settings)

    made, said = searched(tmp_path / "out", made_up(score))
    told = json.loads((tmp_path / "out/search.json").read_text())
    assert [trial["state"] for trial in told["trials"]] == ["complete", "fail", "complete", "complete"]
    assert told["trials"][1]["error"] == "The loss is nan."
    assert made.metrics["score"] == max(trial["score"] for trial in told["trials"] if trial["score"] is not None)
    assert "Trial 2 of 4: failed (The loss is nan.); best so far" in said[1]


def test_where_every_trial_fails_the_folder_is_free_again(tmp_path: Path) -> None:
    def score(settings: TaskConfig) -> float:
        raise ModelError("The loss is nan.")

    with pytest.raises(ModelError, match="None of the trials could be trained; the last one: The loss is nan"):
        searched(tmp_path / "out", made_up(score))
    assert not (tmp_path / "out").exists()


def test_only_the_best_trials_weights_are_kept_while_it_runs_and_it_is_drawn_at_the_end(tmp_path: Path) -> None:
    kept: list[int] = []

    def score(settings: TaskConfig) -> float:
        kept.append(len(list((tmp_path / "out").glob(".search/*/model.safetensors"))))
        return by_rate(settings)

    made, _ = searched(tmp_path / "out", made_up(score), num_trials=6)
    assert max(kept) == 1
    told = json.loads((tmp_path / "out/search.json").read_text())
    best = told["trials"][told["best"]]
    assert best["score"] == made.metrics["score"]
    assert (tmp_path / "out/model.safetensors").read_text() == str(best["settings"]["learning_rate"])
    assert json.loads((tmp_path / "out/tuned.json").read_text())["trial"] == best["settings"]
    picture = (tmp_path / "out/search.svg").read_text()
    assert picture.count("<circle") == 6
    assert picture.count("<rect") == len(told["importance"]) > 0
    assert "6 trials" in picture


def test_a_trial_that_was_ended_early_is_no_best_one(tmp_path: Path) -> None:
    num_begun = 0

    def tuned(settings: TaskConfig, folder: Path, report: Report, watch: Watch) -> Tuned:
        nonlocal num_begun
        num_begun += 1
        if num_begun == 3:
            watch(1, 99.0)
            raise optuna.TrialPruned
        return made_up(by_rate)(settings, folder, report, watch)

    made, said = searched(tmp_path / "out", tuned)
    told = json.loads((tmp_path / "out/search.json").read_text())
    assert told["trials"][2]["state"] == "pruned"
    assert made.metrics["score"] < 0
    assert "Trial 3 of 4: ended early; best so far -0." in said[2]
    picture = (tmp_path / "out/search.svg").read_text()
    assert picture.count("<circle") == 3
    assert "99.0000" not in picture
    assert "4 trials, 1 of them ended early or failed" in picture


class Killed(BaseException):
    pass


def wait_until(there: Callable[[], bool]) -> None:
    """Wait for another thread, a minute at most."""
    end = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_kill_between_two_draws_of_a_trial_changes_neither(tmp_path: Path) -> None:
    searched(tmp_path / "whole", made_up(by_rate), num_trials=6)
    num_begun = 0

    def score(settings: TaskConfig) -> float:
        nonlocal num_begun
        num_begun += 1
        if num_begun == 5:
            raise Killed
        return by_rate(settings)

    with pytest.raises(Killed):
        searched(tmp_path / "cut", made_up(score), num_trials=6)
    database = sqlite3.connect(tmp_path / "cut/.search/trials.db")
    with database:  # what a kill in between would not have drawn yet
        undrawn = "trial_id = (SELECT max(trial_id) FROM trials) AND param_name NOT IN ('learning_rate', 'batch')"
        assert database.execute(f"DELETE FROM trial_params WHERE {undrawn}").rowcount > 2
    database.close()
    searched(tmp_path / "cut", made_up(by_rate), num_trials=6)
    whole, cut = (json.loads((tmp_path / name / "search.json").read_text())["trials"] for name in ("whole", "cut"))
    assert [trial["settings"] for trial in cut] == [trial["settings"] for trial in whole]


def test_two_workers_share_the_trials_and_take_up_what_a_dead_one_left(tmp_path: Path) -> None:
    begun: list[str] = []
    at_once = threading.Barrier(2)

    def tuned_by(name: str) -> Any:
        def tuned(settings: TaskConfig, folder: Path, report: Report, watch: Watch) -> Tuned:
            begun.append(folder.name)
            if len(begun) <= 2:  # the first trial of each runs beside the other's
                at_once.wait(60)
                if name == "dies":
                    raise Killed
            return made_up(by_rate)(settings, folder, report, watch)

        return tuned

    def work(name: str) -> dict[str, Any] | None:
        try:
            return dict(searched(tmp_path / "out", tuned_by(name), num_trials=5)[0].metrics)
        except Killed:
            return None

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(work, "lives")
        wait_until(lambda: len(begun) == 1)
        second = pool.submit(work, "dies")
        lives, dead = first.result(), second.result()
    told = json.loads((tmp_path / "out/search.json").read_text())
    assert dead is None
    assert lives == json.loads((tmp_path / "out/tuned.json").read_text())["metrics"]
    assert [trial["state"] for trial in told["trials"]] == ["complete"] * 5
    assert sorted(set(begun)) == [f"trial-{number}" for number in range(5)]
    assert len(begun) == 6  # the dead one's trial twice


def test_the_worker_that_ends_later_finds_what_the_other_kept(tmp_path: Path) -> None:
    at_once = threading.Barrier(2)

    def tuned(settings: TaskConfig, folder: Path, report: Report, watch: Watch) -> Tuned:
        at_once.wait(60)
        return made_up(by_rate)(settings, folder, report, watch)

    def work() -> Tuned:
        return searched(tmp_path / "out", tuned, num_trials=4)[0]

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(work)
        wait_until(lambda: at_once.n_waiting == 1)
        second = pool.submit(work)
        made = [first.result(), second.result()]
    assert made[0].metrics == made[1].metrics
    assert len(json.loads((tmp_path / "out/search.json").read_text())["trials"]) == 4
    assert not (tmp_path / "out/.search").exists()


def test_a_worker_that_slept_takes_part_in_what_was_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it knew of the trials of the search that failed meanwhile is of a file that is gone."""
    out, at_work, ended = tmp_path / "out", threading.Event(), threading.Event()

    def failing(settings: TaskConfig, folder: Path, report: Report, watch: Watch) -> Tuned:
        if folder.name == "trial-3":
            at_work.set()
            ended.wait(60)
        raise ModelError("The loss is nan.")

    def stops(settings: TaskConfig, folder: Path, report: Report, watch: Watch) -> Tuned:
        if folder.name == "trial-2":
            raise KeyboardInterrupt
        return made_up(by_rate)(settings, folder, report, watch)

    def sleep(_seconds: float) -> None:
        ended.set()
        assert isinstance(first.exception(60), ModelError)
        with pytest.raises(KeyboardInterrupt):
            searched(out, stops)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(searched, out, failing)
        at_work.wait(60)
        monkeypatch.setattr("noria.lifecycle.search.time.sleep", sleep)
        found, _ = searched(out, failing)
    trials = json.loads((out / "search.json").read_text())["trials"]
    assert [trial["state"] for trial in trials] == ["complete", "complete", "fail", "fail"]
    assert found.metrics["score"] == max(trial["score"] for trial in trials[:2])
    with pytest.raises(ConfigError, match="`--search` was 4 and is 5"):
        searched(out, failing, REQUEST | {"settings": {"--search": 5}})


def test_a_kill_while_a_failed_search_is_given_up_leaves_no_old_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(settings: TaskConfig, folder: Path, report: Report, watch: Watch) -> Tuned:
        raise ModelError("The loss is nan.")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("noria.lifecycle.search.give_up", killed)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path / "out", fails)
    searched(tmp_path / "out", made_up(by_rate))
    assert {trial["state"] for trial in json.loads((tmp_path / "out/search.json").read_text())["trials"]} == {"complete"}


def test_workers_whose_trials_all_fail_leave_nothing(tmp_path: Path) -> None:
    at_once = threading.Barrier(2)

    def tuned(settings: TaskConfig, folder: Path, report: Report, watch: Watch) -> Tuned:
        if folder.name in ("trial-0", "trial-1"):
            at_once.wait(60)
        if folder.name == "trial-3":
            time.sleep(3 * LOOK_AGAIN_SECONDS)  # the other worker waits for this one
        raise ModelError("The loss is nan.")

    def work() -> str:
        with pytest.raises(ModelError) as told:
            searched(tmp_path / "out", tuned)
        return str(told.value)

    with ThreadPoolExecutor(2) as pool:
        told = [pool.submit(work)]
        wait_until(lambda: at_once.n_waiting == 1)
        told.append(pool.submit(work))
        assert sorted("Another worker" in one.result() for one in told) == [False, True]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fails", [False, True])
def test_a_worker_that_comes_as_the_search_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    def tuned(settings: TaskConfig, folder: Path, report: Report, watch: Watch) -> Tuned:
        if fails:
            raise ModelError("The loss is nan.")
        return made_up(by_rate)(settings, folder, report, watch)

    ended: list[Tuned] = []

    def claim_then_end(*asked: Any) -> None:
        claim(*asked)
        monkeypatch.undo()
        with suppress(ModelError):
            ended.append(searched(tmp_path / "out", tuned)[0])

    monkeypatch.setattr("noria.lifecycle.search.claim", claim_then_end)
    if fails:
        with pytest.raises(ModelError, match="Another worker"):
            searched(tmp_path / "out", tuned)
        assert not (tmp_path / "out").exists()
    else:
        assert searched(tmp_path / "out", tuned)[0].metrics == ended[0].metrics
        assert not (tmp_path / "out/.search").exists()


def test_a_worker_whose_search_was_given_up_takes_no_part_in_the_next_without_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its two looks at the folder another search was begun there."""
    looks = iter([False])
    monkeypatch.setattr("noria.lifecycle.search.is_claimed", lambda _: next(looks, True))
    with pytest.raises(ModelError, match="Another worker"):
        searched(tmp_path / "out", made_up(by_rate))


def test_the_first_trial_has_the_rate_that_plain_tuning_derives() -> None:
    model = BertForSequenceClassification(BertConfig(num_hidden_layers=4))
    config = TaskConfig(top_layers=3)
    learning = with_method(model, config)
    assert num_learning(learning) < 0.5 * sum(p.numel() for p in model.parameters())
    rates = {group["lr"] for group in learning_parameters(learning, config)}
    rate = space(config, num_learning=num_learning(learning)).default["learning_rate"]
    assert rates == {rate, rate * config.head_rate}
    assert rate < 1e-4


@pytest.mark.parametrize(
    ("method", "task", "read", "unread"),
    [
        ("full", "classify", {"head_rate", "label_smoothing", "dropout"}, {"rank", "crf"}),
        ("lora", "tag", {"rank", "crf", "head_rate"}, {"label_smoothing"}),
        ("full", "answer", {"head_rate"}, {"label_smoothing", "crf", "rank"}),
        ("contrast", "classify", {"dropout"}, {"head_rate", "label_smoothing"}),
        ("head", "tag", {"crf"}, {"head_rate", "label_smoothing"}),
    ],
)
def test_what_is_drawn_is_read(method: Any, task: str, read: set[str], unread: set[str]) -> None:
    drawn = set(space(TaskConfig(method=method), task).ranges)
    assert read | {"learning_rate", "batch"} <= drawn
    assert not drawn & unread


def test_the_default_is_in_every_range_and_no_draw_is_out_of_bounds() -> None:
    config = TaskConfig(learning_rate=0.5, warmup=0.9, weight_decay=2.0, batch=7, dropout=0.4, head_rate=100.0)
    made = space(config)
    assert all(among._contains(among.to_internal_repr(made.default[name])) for name, among in made.ranges.items())
    assert made.ranges["learning_rate"].to_internal_repr(1.0) == 1.0
    assert made.ranges["learning_rate"].high == 1.0  # type: ignore[union-attr]


def test_a_search_that_could_draw_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to draw for `--method head`"):
        space(TaskConfig(method="head"))


def test_a_decoder_that_may_read_in_both_directions_is_tried_so() -> None:
    drawn = {task: space_of(TaskConfig(), task, 10**6, turns=True) for task in ("classify", "tag", "answer")}
    assert {task for task, made in drawn.items() if "bidirectional" in made.ranges} == {"classify", "tag"}
    assert drawn["tag"].default["bidirectional"] is False
    assert "bidirectional" not in space(TaskConfig(), "tag").ranges


@pytest.mark.parametrize("settings", [{"label_smoothing": 0.1}, {"class_weights": "balanced"}])
def test_transitions_are_not_drawn_beside_what_they_do_not_heed(settings: Any) -> None:
    assert "crf" not in space(TaskConfig(crf=False, **settings), "tag").ranges


@pytest.mark.parametrize(("method", "drawn"), [("lora", {"rank"}), ("full", set[str]()), ("prompt", set[str]())])
def test_what_is_drawn_for_a_model_that_writes(method: Any, drawn: set[str]) -> None:
    made = space_of_writing(TuneConfig(method=method), "rewrite")
    assert made.ranges.keys() == {"learning_rate", "batch_tokens", "weight_decay", "warmup"} | drawn
    assert TuneConfig(method=method, **made.default) == TuneConfig(method=method, learning_rate=made.default["learning_rate"])
