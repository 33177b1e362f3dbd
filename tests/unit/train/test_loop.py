"""The loop: it learns, accumulates exactly, keeps to its time, and names what is wrong."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from noria.errors import ConfigError, DataError, ModelError
from noria.testing.tiny_training import tiny_examples, tiny_model
from noria.train import Example, Loss, Progress, Supervised, TuneConfig, train
from noria.train.compiled import can_compile
from noria.train.optimizers import up_and_down


def tune(folder: Path, **settings: object) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    config = TuneConfig(**{"method": "full", "learning_rate": 1e-2, "batch_tokens": 60, "threads": 1, "epochs": 10, **settings})  # type: ignore[arg-type]
    result = train(tiny_model(), tiny_examples(), [Supervised()], config, folder)
    return {k: v.clone() for k, v in result.model.state_dict().items()}, result.metrics


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("top_layers", [None, 1])
def test_it_learns(tmp_path: Path, method: str, top_layers: int | None) -> None:
    before = tiny_model().state_dict()
    after, _ = tune(tmp_path, method=method, top_layers=top_layers, rank=4, epochs=20)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(".layers.1." in name for name in moved)
    assert top_layers is None or not any(".layers.0." in name or "embed" in name for name in moved)
    assert set(after) == set(before)


def test_accumulated_equals_one_big_batch(tmp_path: Path) -> None:
    big, _ = tune(tmp_path / "big", batch_tokens=80, micro_batch_tokens=1000, epochs=2, precision="float32")
    small, _ = tune(tmp_path / "small", batch_tokens=80, micro_batch_tokens=20, epochs=2, precision="float32")
    for name in big:
        torch.testing.assert_close(big[name], small[name], atol=2e-4, rtol=2e-3)


def test_same_seed_same_weights(tmp_path: Path) -> None:
    first, _ = tune(tmp_path / "a", method="lora", rank=4)
    second, _ = tune(tmp_path / "b", method="lora", rank=4)
    third, _ = tune(tmp_path / "c", method="lora", rank=4, seed=1)
    assert same(first, second)
    assert not same(first, third)


def test_a_finished_run_is_taken_up_without_a_step_and_needs_no_moments(tmp_path: Path) -> None:
    first, _ = tune(tmp_path, epochs=2)
    [written] = tmp_path.glob("checkpoint-*.pt")
    assert written.stat().st_size < 1.2 * sum(weight.nbytes for weight in tiny_model().state_dict().values()) + 20_000
    again, metrics = tune(tmp_path, epochs=2)
    assert same(first, again)
    assert metrics["resumed_at_step"] == metrics["num_steps"]


class Killed(BaseException):
    pass


COMPILED = pytest.param("lora", None, True, marks=pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler"))


@pytest.mark.filterwarnings("ignore")  # of torch's compiler
@pytest.mark.parametrize(
    ("method", "top_layers", "compiled"), [("full", None, None), ("lora", None, None), ("full", 1, None), ("lora", 1, None), COMPILED]
)
def test_resumed_equals_uninterrupted(tmp_path: Path, method: str, top_layers: int | None, compiled: bool | None) -> None:
    whole, _ = tune(tmp_path / "whole", method=method, top_layers=top_layers, rank=4, dropout=0.2, compile=compiled)
    config = TuneConfig(
        method=method,
        learning_rate=1e-2,
        batch_tokens=60,
        threads=1,
        epochs=10,
        top_layers=top_layers,
        rank=4,
        dropout=0.2,
        compile=compiled,
        checkpoint_seconds=1e-6,  # type: ignore[arg-type]
    )

    def kill_at(step: int) -> object:
        def on_progress(progress: Progress) -> None:
            if progress.step == step:
                raise Killed

        return on_progress

    for step in (3, 4, 11):
        with pytest.raises(Killed):
            train(tiny_model(), tiny_examples(), [Supervised()], config, tmp_path / "cut", kill_at(step))  # type: ignore[arg-type]
    result = train(tiny_model(), tiny_examples(), [Supervised()], config, tmp_path / "cut")
    assert result.metrics["resumed_at_step"] == 10
    assert same(whole, result.model.state_dict())
    curves = [(tmp_path / run / "curve.jsonl").read_text() for run in ("whole", "cut")]
    assert curves[0] == curves[1]


def test_a_corrupt_checkpoint_is_set_aside(tmp_path: Path) -> None:
    whole, _ = tune(tmp_path)
    [written] = tmp_path.glob("checkpoint-*.pt")
    written.write_bytes(b"PK not a checkpoint")
    again, metrics = tune(tmp_path)
    assert metrics["resumed_at_step"] == 0
    assert same(whole, again)
    assert written.with_suffix(".corrupt").is_file()


def test_minutes_plan_the_steps(tmp_path: Path) -> None:
    _, metrics = tune(tmp_path, minutes=0.02, epochs=100000)
    assert "tokens/s" in str(metrics["planned_by"])
    assert 1 <= int(str(metrics["num_steps"])) < 100000
    assert float(str(metrics["train_seconds"])) < 6


class Clock(Supervised):
    """Learns as ever, while `monotonic` tells the time of a machine on which the calls from `first` to `last` take longer."""

    def __init__(self, first: float = math.inf, last: float = math.inf, slow: float = 0.2) -> None:
        self.num_calls, self.first, self.last, self.slow, self.now = 0, first, last, slow, 0.0

    def loss(self, model: Any, examples: Sequence[Example]) -> Loss:
        self.num_calls += 1
        self.now += self.slow if self.first <= self.num_calls <= self.last else 0.02
        return super().loss(model, examples)

    def monotonic(self) -> float:
        return self.now


def use_clock(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    for module in ("noria.train.loop", "noria.train.run"):
        monkeypatch.setattr(f"{module}.time", clock)


TIMED = TuneConfig(method="full", batch_tokens=60, micro_batch_tokens=1000, threads=1, epochs=100_000, minutes=0.05)


def planned_steps(folder: Path) -> int:
    return json.loads((folder / "plan.json").read_text())["num_steps"]


def test_a_machine_that_slows_down_gets_fewer_steps_and_keeps_the_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(first=50)
    use_clock(monkeypatch, clock)
    seen: list[Progress] = []
    metrics = train(tiny_model(), tiny_examples(), [clock], TIMED, tmp_path, seen.append).metrics
    assert 1 < metrics["num_steps"] < planned_steps(tmp_path)
    assert metrics["train_seconds"] <= 1.3 * 3
    assert seen[-1].step == seen[-1].num_steps == metrics["num_steps"]


def test_a_machine_that_slows_down_keeps_time_for_what_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.4 seconds of work follow, as planned; of a slower machine three times as much is believed."""
    clock = Clock(first=20, slow=0.06)
    use_clock(monkeypatch, clock)
    metrics = train(tiny_model(), tiny_examples(), [clock], TIMED, tmp_path, then=0.4).metrics
    assert metrics["num_steps"] > 1
    assert metrics["train_seconds"] <= 1.1 * (3 - 0.8)


def test_a_machine_that_was_slow_for_a_moment_gets_its_steps_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(first=8, last=11)
    use_clock(monkeypatch, clock)
    seen: list[Progress] = []
    train(tiny_model(), tiny_examples(), [clock], TIMED, tmp_path, seen.append, then=1.5)
    assert min(progress.num_steps for progress in seen) < 0.5 * planned_steps(tmp_path)
    assert seen[-1].step > 0.6 * planned_steps(tmp_path)


def test_a_shortened_run_goes_on_with_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(first=20)
    use_clock(monkeypatch, clock)
    shortened: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.num_steps < planned_steps(tmp_path):
            shortened.append(progress.num_steps)
            if len(shortened) == 2:
                raise Killed

    config = TIMED.model_copy(update={"checkpoint_seconds": 0})
    with pytest.raises(Killed):
        train(tiny_model(), tiny_examples(), [clock], config, tmp_path, kill)
    seen: list[Progress] = []
    train(tiny_model(), tiny_examples(), [clock], config, tmp_path, seen.append)
    assert seen[0].num_steps == shortened[-1]


def test_too_long_examples_are_left_out_and_counted(tmp_path: Path) -> None:
    _, metrics = tune(tmp_path, max_tokens=16)
    lengths = [e.num_tokens for e in tiny_examples()]
    assert metrics["num_left_out"] == sum(n > 16 for n in lengths) > 0


def test_what_cannot_be_learnt_is_said() -> None:
    config = TuneConfig()
    unlearnable = Example(objective="supervised", sequences=((1, 2),), weights=((0.0, 0.0),))
    with pytest.raises(DataError, match="None of 1 examples can be learnt"):
        train(tiny_model(), [unlearnable], [Supervised()], config, Path("unused"))
    with pytest.raises(DataError, match="'riddle'; this run has: supervised"):
        train(tiny_model(), [Example(objective="riddle", sequences=((1, 2),), weights=((0, 1.0),))], [Supervised()], config, Path("unused"))


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight[:] = float("nan")
    with pytest.raises(ModelError, match="Lower `learning_rate`"):
        train(model, tiny_examples(), [Supervised()], TuneConfig(method="full", threads=1), tmp_path)


def test_more_top_layers_than_layers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 2 layers"):
        tune(tmp_path, top_layers=3)


def test_the_rate_rises_and_falls() -> None:
    config = TuneConfig(warmup=0.1)
    rates = [up_and_down(step, 100, config.warmup) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.05, abs=0.01)


def test_patience_ends_a_run_that_no_longer_gets_better(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = iter([3.0, 1.0, 2.0, 2.0, *[0.5] * 20])
    monkeypatch.setattr("noria.train.loop._held_out_loss", lambda *_: {"loss": next(costs)})
    settings = {"epochs": 10.0, "batch_tokens": 16, "num_validations": 10}
    done = train(tiny_model(), tiny_examples(), [Supervised()], TuneConfig(**settings, patience=2), tmp_path, held_out=tiny_examples(2))
    assert done.metrics["held_out_loss"] == 1.0
    assert done.metrics["num_steps"] <= 0.4 * train_steps(settings, tmp_path / "whole") + 1


def train_steps(settings: dict[str, Any], folder: Path) -> int:
    return train(tiny_model(), tiny_examples(), [Supervised()], TuneConfig(**settings), folder).metrics["num_steps"]


def test_references_are_those_of_the_model_as_it_came(tmp_path: Path) -> None:
    """Whatever is left out while the model learns."""
    found: list[list[bool]] = []

    class Watching(Supervised):
        def prepare(self, model: Any, examples: Sequence[Example]) -> list[Example]:
            found.append([module.training for module in model.modules()])
            return list(examples)

    train(tiny_model(), tiny_examples(), [Watching()], TuneConfig(epochs=1.0, dropout=0.3, rank=4), tmp_path)
    assert not any(found[0])


@pytest.mark.parametrize(("settings", "told"), [({"method": "dora"}, "dora"), ({"top_layers": 1}, "top_layers")])
def test_what_cannot_be_compiled_is_refused_where_it_is_asked_for(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        train(tiny_model(), tiny_examples(), [Supervised()], TuneConfig(compile=True, rank=4, **settings), tmp_path)


def test_dropout_changes_what_is_learnt_and_not_what_is_held_out(tmp_path: Path) -> None:
    found = []
    for name, share in (("none", 0.0), ("some", 0.3)):
        config = TuneConfig(epochs=1.0, dropout=share, learning_rate=1e-9)
        found.append(train(tiny_model(), tiny_examples(), [Supervised()], config, tmp_path / name, held_out=tiny_examples(2)).metrics)
    assert found[0]["held_out_loss"] == pytest.approx(found[1]["held_out_loss"], abs=1e-3)
    assert found[0]["first_loss"] != pytest.approx(found[1]["first_loss"], abs=1e-3)
