"""Pre-training on a tiny corpus: text in, a model folder out; killed anywhere it ends the same; what is wrong is said before hours are lost."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from noria.data import open_corpus
from noria.errors import ConfigError, DataError, ModelError, StoreError
from noria.model import load_checkpoint, load_tokenizer, resolve, train_tokenizer
from noria.train import PretrainConfig
from noria.train.compiled import can_compile
from noria.train.objective import Loss
from noria.train.pretrain import check_fit, pretrain, rate_share, sample_of
from noria.train.run import MicroBatch, Run, RunConfig, Step
from noria.train.spike import SpikeWatch

SMALL: dict[str, Any] = {
    "tokenizer": "characters", "width": 32, "layers": 2, "heads": 2, "context": 16, "batch_tokens": 64, "micro_batch_tokens": 32, "steps": 60,
    "threads": 1, "num_validations": 10,
}  # fmt: skip


def corpus(folder: Path) -> Path:
    rng = random.Random(0)
    words = ["the", "wheel", "lifts", "water", "stream", "turns", "水车", "提水"]
    rows = [{"text": " ".join(rng.choices(words, k=30)), "id": str(i)} for i in range(80)]
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def run(folder: Path, out: str = "out", on: Callable[[str, float, float], None] = lambda *_: None, **settings: Any) -> Any:
    path = folder / "corpus.jsonl"
    config = PretrainConfig(**{**SMALL, **settings})
    return pretrain(config, [path if path.is_file() else corpus(folder)], folder / out, on, lambda _: None)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder).state_dict()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_text_becomes_a_decoder_that_is_read_by_its_folder(tmp_path: Path, architecture: str, optimizer: str) -> None:
    made = run(tmp_path, architecture=architecture, optimizer=optimizer, learning_rate=1e-2)
    curve = [json.loads(line) for line in (made.folder / "curve.jsonl").read_text().splitlines()]
    assert len(curve) == 60
    assert made.metrics["validation_loss"] < curve[0]["loss"] - 0.5
    assert 0 < made.metrics["bits_per_byte"] < 8
    model, tokenizer = load_checkpoint(made.folder), load_tokenizer(made.folder)
    assert model.config.model_type == architecture
    assert tokenizer.decode(tokenizer.encode("the 水车")) == "the 水车"
    assert not (made.folder / ".run").exists()
    assert "validation loss" in (made.folder / "curve.svg").read_text()
    assert list((made.folder / "tensorboard").glob("events.out.tfevents.*"))
    again = run(tmp_path, architecture=architecture, optimizer=optimizer, learning_rate=1e-2)
    assert again.metrics == json.loads(json.dumps(made.metrics))


@pytest.mark.parametrize(
    ("objective", "architecture", "scores"),
    [
        ("mlm-nsp", "bert", {"mlm_loss", "mlm_accuracy"}),
        ("mlm-nsp", "modernbert", {"mlm_loss", "mlm_accuracy"}),
        ("denoise", "t5", set[str]()),
    ],
)
def test_text_becomes_an_encoder_or_an_encoder_decoder(tmp_path: Path, objective: str, architecture: str, scores: set[str]) -> None:
    shape = {"context": 32, "batch_tokens": 256, "micro_batch_tokens": 128, "tokenizer": "bpe", "vocab_size": 390 if objective == "denoise" else 300}
    made = run(tmp_path, objective=objective, architecture=architecture, learning_rate=1e-2, **shape)
    curve = [json.loads(line) for line in (made.folder / "curve.jsonl").read_text().splitlines()]
    assert made.metrics["validation_loss"] < curve[0]["loss"] - 0.5
    assert scores <= set(made.metrics)
    model = transformers.AutoModel.from_pretrained(made.folder)
    theirs, mine = transformers.AutoTokenizer.from_pretrained(made.folder), load_tokenizer(made.folder)
    text = "the wheel lifts 水车"
    plain = theirs(text, add_special_tokens=False)["input_ids"]
    assert plain == mine.encode(text)
    whole = theirs(text)["input_ids"]
    assert whole == ([mine.bos_id, *plain, mine.eos_id] if objective == "mlm-nsp" else [*plain, mine.eos_id])
    assert model.config.model_type == architecture
    with pytest.raises(ModelError, match=f"is a {type(model).__name__.removesuffix('Model')}For.* does not write text from left to right"):
        load_checkpoint(made.folder)
    if objective == "mlm-nsp":
        assert model(**theirs(text, return_tensors="pt")).last_hidden_state.shape[1] == len(whole)


@pytest.mark.parametrize(("objective", "tokenizer", "is_shown"), [("clm", "characters", True), ("mlm-nsp", "bpe", True), ("denoise", "bpe", False)])
def test_the_share_of_the_peak_is_shown_where_steps_are_given_too(tmp_path: Path, objective: str, tokenizer: str, is_shown: bool) -> None:
    told: list[str] = []
    settings = {"objective": objective, "tokenizer": tokenizer, "context": 32, "batch_tokens": 128, "steps": 2}
    plan = run(tmp_path, on=lambda stage, *_: told.append(stage), **settings).plan
    assert (plan.peak_share, plan.tokens_per_second) == (None, None)  # nothing was timed
    assert (plan.peak_tokens_per_second is not None) == is_shown
    assert ("% of peak)" in told[-1]) == is_shown


def curve_of(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_activations_computed_again_change_nothing(tmp_path: Path, architecture: str) -> None:
    kept, again = (
        curve_of(run(tmp_path, name, architecture=architecture, checkpoint_activations=name == "again").folder) for name in ("kept", "again")
    )
    assert [p["loss"] for p in again] == pytest.approx([p["loss"] for p in kept], abs=1e-4)


def test_averaged_weights_are_what_is_validated_and_kept(tmp_path: Path) -> None:
    plain, averaged = run(tmp_path, "plain", schedule="linear"), run(tmp_path, "averaged", schedule="linear", average=0.9)
    losses = [[p["loss"] for p in curve_of(made.folder)] for made in (plain, averaged)]
    assert losses[0] == losses[1]
    assert plain.metrics["validation_loss"] != averaged.metrics["validation_loss"]
    assert not torch.equal(*(weights(made.folder)["model.layers.0.self_attn.q_proj.weight"] for made in (plain, averaged)))


def test_small_batches_accumulate_to_one_big_batch(tmp_path: Path) -> None:
    big, small = (
        curve_of(run(tmp_path, str(size), micro_batch_tokens=size, optimizer="adamw", precision="float32", learning_rate=2e-3).folder)
        for size in (64, 16)
    )
    assert [p["loss"] for p in small] == pytest.approx([p["loss"] for p in big], abs=1e-4)


class Killed(BaseException):
    pass


@pytest.mark.filterwarnings("ignore")  # of what torch compiles with
@pytest.mark.parametrize(
    "settings", [{}, {"objective": "mlm-nsp", "architecture": "bert", "tokenizer": "bpe", "vocab_size": 300, "compile": can_compile()}]
)
def test_killed_and_begun_again_it_ends_bit_identical(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings = {"dropout": 0.1, **settings}
    run(tmp_path, "whole", **settings)
    rng = random.Random(1)

    def killer() -> Callable[[str, float, float], None]:
        at = rng.randint(1, 25)
        seen = 0

        def on(_stage: str, _done: float, _total: float) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                raise Killed

        return on

    for _ in range(12):
        try:
            run(tmp_path, "cut", killer(), **settings)
        except Killed:
            continue
        break
    run(tmp_path, "cut", **settings)
    whole, cut = (tmp_path / name / "model.safetensors" for name in ("whole", "cut"))
    assert whole.read_bytes() == cut.read_bytes()
    assert (tmp_path / "whole/curve.jsonl").read_text() == (tmp_path / "cut/curve.jsonl").read_text()


def test_a_corrupt_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    def stop(stage: str, done: float, _total: float) -> None:
        if stage.startswith("training") and done == 40:
            raise Killed

    run(tmp_path, "whole")
    with pytest.raises(Killed):
        run(tmp_path, "cut", stop)
    written = sorted((tmp_path / "cut/.run").glob("checkpoint-*.pt"))
    assert len(written) == 2
    written[-1].write_bytes(written[-1].read_bytes()[:100])
    made = run(tmp_path, "cut")
    assert made.metrics["resumed_at_step"] == int(written[0].stem.removeprefix("checkpoint-"))
    assert all(torch.equal(a, b) for a, b in zip(weights(tmp_path / "whole").values(), weights(tmp_path / "cut").values(), strict=True))


def test_the_dial_chooses_and_says_why(tmp_path: Path) -> None:
    corpus(tmp_path)
    said: list[str] = []
    config = PretrainConfig(minutes=0.25, tokenizer="characters", threads=1)
    (tmp_path / "test.jsonl").write_text('{"text": "What it is measured with."}\n', encoding="utf-8")
    made = pretrain(config, sorted(tmp_path.glob("*.jsonl")), tmp_path / "out", lambda *_: None, said.append)
    assert said[0].startswith("Passed over: 1 file named `test` or `eval`.")
    assert any("lowest loss predicted" in sentence for sentence in said)
    assert made.metrics["wall_seconds_of_this_process"] < 2 * 15
    assert made.plan.num_steps >= made.metrics["num_steps"] > 1


def test_what_is_wrong_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`--objective clm` does not train the architecture 'bert'.*`--objective mlm-nsp`"):
        run(tmp_path, architecture="bert")
    with pytest.raises(ConfigError, match="no multiple of 3 heads"):
        run(tmp_path, heads=3)
    with pytest.raises(DataError, match="The longest document has .* tokens, and `context` is 50000"):
        run(tmp_path, "long", context=50_000, batch_tokens=50_000)
    with pytest.raises(ConfigError, match="ModernBERT does not predict next sentences"):
        run(tmp_path, "modern", objective="mlm-nsp", architecture="modernbert", sentence_weight=1.0)
    with pytest.raises(DataError, match="The corpus supports .* tokens, not 30000"):
        run(tmp_path, "vocab", tokenizer="bpe", vocab_size=30_000)
    with pytest.raises(ConfigError, match="`--size` chooses `width` and `layers`"):
        run(tmp_path, "size", size=100_000)
    with pytest.raises(ConfigError, match="`heads` parts a given width"):
        run(tmp_path, "heads", width=None, layers=None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="No text in"):
        pretrain(PretrainConfig(**SMALL), [tmp_path / "empty"], tmp_path / "none", lambda *_: None, lambda _: None)
    assert not (tmp_path / "none").exists()


ENGLISH = ["the wheel lifts water from the stream to the field, by day and by night"] * 20
CHINESE = ["水车从河流提水，昼夜不停，灌溉田野。"] * 20


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "characters"])
@pytest.mark.parametrize(("learnt", "given"), [(ENGLISH, CHINESE), (CHINESE, ENGLISH)], ids=["chinese", "english"])
def test_a_tokenizer_of_another_language_is_refused(tmp_path: Path, kind: Any, learnt: list[str], given: list[str]) -> None:
    train_tokenizer(kind, learnt, 600, "clm", at_most=True).save(tmp_path)
    with pytest.raises(DataError, match="it was learnt from another language"):
        check_fit(load_tokenizer(tmp_path), given, "other")
    check_fit(load_tokenizer(tmp_path), learnt, "own")


@pytest.mark.parametrize(
    ("objective", "learnt_for", "token"), [("mlm-nsp", "clm", r"\[CLS\]"), ("denoise", "clm", "<extra_id_0>"), ("clm", "denoise", "that begins")]
)
def test_a_tokenizer_for_another_objective_is_refused_before_the_corpus_is_read(tmp_path: Path, objective: Any, learnt_for: str, token: str) -> None:
    train_tokenizer("unigram", ENGLISH, 60, learnt_for, at_most=True).save(tmp_path)
    config = PretrainConfig(**{**SMALL, "tokenizer": None, "objective": objective})
    with pytest.raises(ConfigError, match=rf"has no token {token}.* which {objective} needs. Leave `--tokenizer` out"):
        pretrain(config, [corpus(tmp_path)], tmp_path / "out", lambda *_: None, lambda _: None, tmp_path)
    assert not (tmp_path / "out").exists()


def test_the_embedded_models_tokenizer_knows_english_and_not_chinese() -> None:
    words = load_tokenizer(resolve("smollm2-135m").path)
    check_fit(words, ENGLISH[:1], "smollm2")
    with pytest.raises(DataError, match="times the tokens that it would need"):
        check_fit(words, CHINESE, "smollm2")


def test_a_tokenizer_is_tried_on_text_from_all_over_the_corpus(tmp_path: Path) -> None:
    """Many rows of one file do not hide the next one, nor does the beginning of a long document hide its end."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": ENGLISH[0]}) + "\n" for _ in range(500)), encoding="utf-8")
    (tmp_path / "b.txt").write_text(ENGLISH[0] * 500 + CHINESE[0] * 500, encoding="utf-8")
    sample = sample_of(open_corpus([tmp_path]))
    assert len(sample) <= 200
    assert 2 < sum(CHINESE[0][:4] in piece for piece in sample) < 20


def test_a_learnt_tokenizer_to_which_much_is_unknown_is_refused(tmp_path: Path) -> None:
    """WordPiece takes a word of more than a hundred characters for unknown."""
    rng = random.Random(0)
    rows = [" ".join("".join(rng.choices("abcdefgh", k=150)) for _ in range(5)) for _ in range(60)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match="A `wordpiece` tokenizer learnt from this corpus takes 100% of it for unknown. Set `tokenizer=bpe`"):
        run(tmp_path, objective="mlm-nsp", architecture="bert", tokenizer="wordpiece")


def test_another_request_for_a_finished_folder_or_a_strangers_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ConfigError, match="`layers` was 2 and is 3"):
        run(tmp_path, layers=3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("All my work.")
    with pytest.raises(ConfigError, match="is not empty and was not begun by"):
        run(tmp_path, "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "All my work."


def test_a_begun_folder_is_not_gone_on_with_otherwise(tmp_path: Path) -> None:
    def stop(stage: str, done: float, _total: float) -> None:
        if stage.startswith("training") and done == 3:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, on=stop)
    with pytest.raises(ConfigError, match="`layers` was 2 and is 3"):
        run(tmp_path, layers=3)


def test_a_second_command_in_one_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    refused: list[str] = []

    def second(stage: str, done: float, _total: float) -> None:
        if stage.startswith("training") and done == 3:
            with pytest.raises(StoreError, match="Another `noria pretrain` is at work in .*Wait for it, or stop it") as told:
                run(tmp_path)
            refused.append(str(told.value))

    made = run(tmp_path, on=second)
    assert len(refused) == 1
    assert len(curve_of(made.folder)) == 60
    assert not (tmp_path / "out" / ".run").exists()


def test_what_the_corpus_refuses_can_be_asked_for_otherwise_in_the_same_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Set it to .* or less"):
        run(tmp_path, context=50_000, batch_tokens=50_000)
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="The corpus supports .* tokens, not 30000"):
        run(tmp_path, tokenizer="bpe", vocab_size=30_000)
    assert run(tmp_path, steps=2).metrics["num_steps"] == 2


def test_the_folder_that_is_made_is_no_part_of_the_corpus(tmp_path: Path) -> None:
    corpus(tmp_path)
    config, out = PretrainConfig(**{**SMALL, "steps": 2}), tmp_path / "out"
    made = pretrain(config, [tmp_path], out, lambda *_: None, lambda _: None)
    assert (out / "curve.jsonl").is_file()
    assert pretrain(config, [tmp_path], out, lambda *_: None, lambda _: None).metrics == json.loads(json.dumps(made.metrics))
    with pytest.raises(DataError, match="No text but what stands in"):
        pretrain(config, [out], out, lambda *_: None, lambda _: None)


def test_files_that_cannot_be_read_are_told_also_by_a_run_that_is_gone_on_with(tmp_path: Path) -> None:
    corpus(tmp_path)
    (tmp_path / "broken.jsonl.gz").write_bytes(b"not packed")

    def stop(stage: str, *_: float) -> None:
        if stage.startswith("training"):
            raise Killed

    config, said = PretrainConfig(**{**SMALL, "steps": 2}), list[str]()
    files = [tmp_path / "corpus.jsonl", tmp_path / "broken.jsonl.gz"]
    with pytest.raises(Killed):
        pretrain(config, files, tmp_path / "out", stop, lambda _: None)
    made = pretrain(config, files, tmp_path / "out", lambda *_: None, said.append)
    [[path, reason]] = made.metrics["left_out"]
    assert path.endswith("broken.jsonl.gz")
    assert any(sentence.startswith("1 file was not read whole") and reason in sentence for sentence in said)


def test_a_corpus_that_takes_all_of_the_minutes_to_be_read_is_refused_when_they_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10**6, 20))  # a document takes twenty seconds
    monkeypatch.setattr("noria.train.pretrain.time.monotonic", lambda: float(next(now)))
    with pytest.raises(ConfigError, match="After 0.25 minutes the corpus was not read to its end"):
        run(tmp_path, steps=None, minutes=0.25)
    assert not (tmp_path / "out").exists()


def test_passages_that_do_not_fill_their_rows_are_no_less_training(tmp_path: Path) -> None:
    """Short entries and one long text: rows are as long as that, and most of them nearly empty."""
    rng = random.Random(1)
    rows = [" ".join(rng.choices(["wheel", "water", "stream"], k=10)) for _ in range(300)] + [" ".join(rng.choices(["wheel", "water"], k=500))]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    made = run(tmp_path, objective="mlm-nsp", architecture="bert", sentence_weight=0.0, context=512, batch_tokens=2048, micro_batch_tokens=2048,
               steps=None, minutes=0.2, num_validations=2)  # fmt: skip
    tokens_per_step = made.metrics["tokens"] / made.metrics["num_steps"]
    assert tokens_per_step < 0.5 * 2048
    planned = made.plan.tokens_per_second * made.plan.seconds / made.plan.num_steps
    assert planned == pytest.approx(tokens_per_step, rel=0.5)


def test_a_corpus_whose_name_is_not_utf_8_is_trained_on(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    corpus(tmp_path).rename(path)
    made = pretrain(PretrainConfig(**{**SMALL, "steps": 2}), [path], tmp_path / "out", lambda *_: None, lambda _: None)
    again = pretrain(PretrainConfig(**{**SMALL, "steps": 2}), [path], tmp_path / "out", lambda *_: None, lambda _: None)
    assert again.metrics == json.loads(json.dumps(made.metrics))


class OneBadStep:
    """Learns a number; the batch of one step is a thousand times too large."""

    def step(self, number: int) -> Step:
        def loss(model: torch.nn.Linear, scale: float) -> Loss:
            return Loss(total=(model(torch.ones(1, 4)) - 1).square().sum() * scale)

        return Step(micro_batches=[MicroBatch(loss, 1000.0 if number == 65 else 1.0)], weight=1.0, num_tokens=1)


def test_a_step_whose_loss_jumps_is_left_out_and_the_curve_is_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    config = RunConfig(rate=lambda *_: 1.0, checkpoint_every=20, spike=6.0)
    run_of = Run(model, model, OneBadStep(), [optimizer], config, tmp_path)
    run_of.run(100)
    assert (run_of.step, run_of.skipped, run_of.watch.num_returns) == (100, 6, 1)
    assert [p["step"] for p in curve_of(tmp_path)] == list(range(1, 101))


def test_what_is_a_spike() -> None:
    watch = SpikeWatch(6.0)
    rng = random.Random(0)
    for _ in range(200):
        loss = 3 + 0.1 * rng.gauss(0, 1)
        assert not watch.is_spike(loss)
        watch.add(loss)
    assert watch.is_spike(4.0)
    assert watch.is_spike(float("nan"))
    assert not SpikeWatch(None).is_spike(float("inf"))


@pytest.mark.parametrize("schedule", ["trapezoid", "cosine", "linear"])
def test_rates_rise_and_fall(schedule: Any) -> None:
    config = PretrainConfig(schedule=schedule, warmup=0.1)
    rates = [rate_share(step, 100, config) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) <= 1.0
    assert rates[-1] < 0.12
