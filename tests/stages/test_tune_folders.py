"""What `noria tune` says and refuses before it makes a folder, and what `noria predict` keeps, on small models made here."""

import json
import random
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from transformers import OPTConfig, OPTForCausalLM

from noria.data import Task
from noria.data.task_checks import read_file
from noria.engine.heads import open_head
from noria.engine.heads.runners import GRAPH
from noria.errors import ArtifactError, ConfigError, DataError, ModelError
from noria.lifecycle.adapt import Job, _fault_of, _settings_of_methods, _tell_of_rows, adapt, predict_file
from noria.lifecycle.asking import open_folder
from noria.model import Shape, load_tokenizer, make_config, new_model, train_tokenizer, with_soft_tokens
from noria.store import claim
from noria.train.checkpoint import given_up_on_failure

WORDS = {"pay": ["send money", "transfer funds", "pay my bill"], "card": ["my card is lost", "new card please", "block the card"]}
THINGS = ["river", "stone", "light", "garden", "window", "paper"]


class Killed(BaseException):
    pass


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def intents(rng: random.Random, count: int) -> list[dict[str, Any]]:
    labels = [rng.choice(sorted(WORDS)) for _ in range(count)]
    return [{"text": f"{rng.choice(WORDS[label])} {rng.randrange(999)}", "label": label} for label in labels]


def letters(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Texts of four words."""
    return [{"text": " ".join(rng.choices(THINGS, k=4))} for _ in range(count)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of some thousand weights that has read nothing."""
    folder = tmp_path_factory.mktemp("small")
    words = train_tokenizer("wordpiece", [row["text"] for row in intents(random.Random(0), 300)], 120, "mlm-nsp")
    ids = {"cls": words.role_id("cls_token"), "sep": words.role_id("sep_token"), "pad": words.pad_id, "bos": words.bos_id, "eos": words.eos_id}
    shape = Shape(width=32, num_layers=2, num_heads=2, context=64)
    new_model(make_config("bert", shape, words.vocab_size, {name: i for name, i in ids.items() if i is not None}), 0).save_pretrained(folder)
    words.save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A decoder of some thousand weights that has read nothing."""
    folder = tmp_path_factory.mktemp("writer")
    words = train_tokenizer("bpe", [row["text"] for row in letters(random.Random(0), 300)], 280, "clm")
    special = {"bos": words.bos_id, "eos": words.eos_id, "pad": words.pad_id}
    shape = Shape(width=32, num_layers=2, num_heads=2, context=1024)
    made = make_config("llama", shape, words.vocab_size, {name: i for name, i in special.items() if i is not None})
    new_model(made, 0).save_pretrained(folder)
    words.save(folder)
    return str(folder)


def rewritten(tmp_path: Path, base: str, train: list[dict[str, Any]], held_out: list[dict[str, Any]], **settings: Any) -> tuple[Any, list[str]]:
    files = write(tmp_path / "train.jsonl", train), write(tmp_path / "dev.jsonl", held_out)
    said: list[str] = []
    num_trials = settings.pop("num_trials", None)
    given = {"epochs": 1.0, "threads": 1, **settings}
    return adapt(given, "rewrite", *files, tmp_path / "out", base, lambda *_: None, said.append, num_trials=num_trials), said


def test_rows_that_are_too_long_to_be_learnt_are_told(tmp_path: Path, writer: str) -> None:
    rows = [{**row, "target": "light"} for row in letters(random.Random(11), 12)]
    long = {"text": "river stone " * 90, "target": "light"}
    made, said = rewritten(tmp_path, writer, [rows[0], long, *rows[1:8]], [*rows[8:], long], max_tokens=128)
    assert any(f"1 of 9 rows of '{tmp_path / 'train.jsonl'}' are longer than `max_tokens` = 128 tokens (line 2 first)" in one for one in said)
    assert any(f"1 of 5 rows of '{tmp_path / 'dev.jsonl'}'" in one for one in said)
    assert any(one.startswith("8 rows to learn from") for one in said)
    assert made.metrics["num_left_out"] == 1


def test_a_model_that_writes_is_searched_for_and_what_is_left_out_is_told_once(tmp_path: Path, writer: str) -> None:
    rows = [{**row, "target": "light"} for row in letters(random.Random(14), 12)]
    long = {"text": "river stone " * 90, "target": "light"}
    given = {"max_tokens": 128, "num_trials": 3, "epochs": 4.0, "batch_tokens": 96}
    made, said = rewritten(tmp_path, writer, [*rows[:8], long], rows[8:], **given)
    assert sum("are longer than" in sentence for sentence in said) == 1
    told = json.loads((tmp_path / "out/search.json").read_text())
    assert {trial["state"] for trial in told["trials"]} <= {"complete", "pruned"}
    best = told["trials"][told["best"]]
    assert best["score"] == -made.metrics["held_out_loss"] == max(one["score"] for one in told["trials"] if one["state"] == "complete")
    assert told["trials"][0]["settings"].keys() == {"learning_rate", "batch_tokens", "warmup", "weight_decay", "rank"}
    assert (tmp_path / "out/writing.json").is_file()


def test_what_cannot_be_learnt_from_claims_no_folder(tmp_path: Path, writer: str, small: str) -> None:
    rows = [{**row, "target": "light"} for row in letters(random.Random(12), 8)]
    long = {"text": "river stone " * 90, "target": "light"}
    with pytest.raises(DataError, match=r"All 1 rows of '.*dev.jsonl' are longer than `max_tokens` = 128"):
        rewritten(tmp_path, writer, rows, [long], max_tokens=128)
    with pytest.raises(ModelError, match="does not write text from left to right"):
        rewritten(tmp_path, small, rows, rows)
    assert not (tmp_path / "out").exists()


def test_of_a_long_evaluation_file_the_rows_that_choose_nothing_are_told(tmp_path: Path, writer: str) -> None:
    rows = [{**row, "target": "light"} for row in letters(random.Random(13), 1400)]
    _, said = rewritten(tmp_path, writer, rows[:4], rows[4:])
    assert any("choose nothing: they stand behind the first 20,000 tokens" in one for one in said)


def test_a_row_that_does_not_fit_is_named_and_those_before_it_are_kept(tmp_path: Path, writer: str) -> None:
    rows = [{"messages": [{"role": "user", "content": text}]} for text in ("Say hello.", "river " * 9000, "Say bye.")]
    out, asked = tmp_path / "said.jsonl", list[float]()

    def report(_: str, done: float, __: float) -> None:
        asked.append(done)

    with pytest.raises(DataError, match=r"ask.jsonl' line 2: \d+ tokens, and the room"):
        predict_file(writer, "chat", write(tmp_path / "ask.jsonl", rows), out, report)
    assert asked == [1]
    assert not out.exists()
    rows[1] = rows[0]
    assert predict_file(writer, "chat", write(tmp_path / "ask.jsonl", rows), out, report) == 3
    assert asked == [1, 2, 3]
    said = [json.loads(line)["message"]["content"] for line in out.read_text().splitlines()]
    assert said[0] == said[1] != ""


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"messages": [{"role": "user", "content": "a"}], "extra": 1}', "line 1: unknown field `extra`; allowed: "),
        ('{"messages": [{"role": "user"}]}', r"line 1: field `messages\[0\]"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "boss", "content": "a"}]}', r"line 1: field `messages\[1\]"),
        ("", "has no rows"),
    ],
)
def test_a_wrong_question_gets_one_sentence(tmp_path: Path, writer: str, row: str, told: str) -> None:
    (tmp_path / "ask.jsonl").write_text(row + "\n")
    with pytest.raises(DataError, match=told) as caught:
        predict_file(writer, "chat", tmp_path / "ask.jsonl", tmp_path / "said.jsonl", lambda *_: None)
    assert "\n" not in str(caught.value)


def test_what_is_learnt_of_a_conversation_is_nothing_to_its_question(tmp_path: Path, writer: str) -> None:
    messages = [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello.", "train": False},
        {"role": "user", "content": "Say bye."},
    ]
    data = write(tmp_path / "ask.jsonl", [{"messages": messages}, {"messages": messages[:2]}])
    assert predict_file(writer, "chat", data, tmp_path / "said.jsonl", lambda *_: None) == 2


def test_a_killed_prediction_asks_only_the_rest(tmp_path: Path, small: str) -> None:
    rng = random.Random(14)
    adapted(tmp_path, intents(rng, 24), intents(rng, 8), base=small)
    rows = intents(rng, 30)
    data = write(tmp_path / "ask.jsonl", [{"text": row["text"]} for row in rows])
    asked = list[float]()

    def report(_: str, done: float, __: float) -> None:
        asked.append(done)
        if len(asked) == 10:
            raise Killed

    with pytest.raises(Killed):
        predict_file(str(tmp_path / "out"), "classify", data, tmp_path / "said.jsonl", report)
    predict_file(str(tmp_path / "out"), "classify", data, tmp_path / "said.jsonl", report)
    assert asked == list(range(1, 31))
    predict_file(str(tmp_path / "out"), "classify", data, tmp_path / "whole.jsonl", lambda *_: None)
    said, whole = ([json.loads(line)["label"] for line in (tmp_path / name).read_text().splitlines()] for name in ("said.jsonl", "whole.jsonl"))
    assert said == whole
    assert not list(tmp_path.glob(".*"))


def test_a_prediction_neither_writes_over_its_questions_nor_answers_nothing(tmp_path: Path, small: str) -> None:
    rng = random.Random(15)
    adapted(tmp_path, intents(rng, 24), intents(rng, 8), base=small)
    model, out = str(tmp_path / "out"), tmp_path / "said.jsonl"
    data = write(tmp_path / "ask.jsonl", [{"text": "send money", "label": ""}])
    before = data.read_text()
    with pytest.raises(ConfigError, match="would write over .*ask.jsonl': it is also given as `--data`"):
        predict_file(model, "classify", data, tmp_path / "out/../ask.jsonl", lambda *_: None)
    assert data.read_text() == before
    for rows, told in (([{"text": "pay"}, {"text": " "}], "line 2: field `text` is empty"), ([], "has no rows")):
        with pytest.raises(DataError, match=told):
            predict_file(model, "classify", write(tmp_path / "empty.jsonl", rows), out, lambda *_: None)
    with pytest.raises(DataError, match=r"line 1: field `messages\[0\].content` is empty"):
        predict_file(model, "chat", write(tmp_path / "chat.jsonl", [{"messages": [{"role": "user", "content": ""}]}]), out, lambda *_: None)
    assert not out.exists()
    assert predict_file(model, "classify", data, out, lambda *_: None) == 1


def adapted(tmp_path: Path, train: list[dict[str, Any]], held_out: list[dict[str, Any]], **options: Any) -> Any:
    """A classifier's last layer fitted, in a second."""
    files = write(tmp_path / "train.jsonl", train), write(tmp_path / "dev.jsonl", held_out)
    return adapt(
        {"method": "head", "threads": 1}, "classify", *files, tmp_path / "out", options.pop("base"), lambda *_: None, lambda _: None, **options
    )


def test_a_folder_made_otherwise_is_not_taken_for_what_is_asked(tmp_path: Path, small: str) -> None:
    rng = random.Random(8)
    rows = intents(rng, 24)
    made = adapted(tmp_path, rows, rows[:6], base=small)
    assert adapted(tmp_path, rows, rows[:6], base=small).metrics == made.metrics
    with pytest.raises(ConfigError, match="`--drop-duplicates` was False and is True"):
        adapted(tmp_path, rows, rows[:6], base=small, drop_duplicates=True)
    with pytest.raises(ConfigError, match="begun with other files"):
        adapted(tmp_path, rows[:20], rows[:6], base=small)


def test_a_label_whose_rows_are_all_left_out_is_refused(tmp_path: Path, small: str) -> None:
    rows = [*intents(random.Random(9), 12), {"text": "only here", "label": "rare"}]
    with pytest.raises(DataError, match="the label 'rare' is in no row"):
        adapted(tmp_path, rows, rows[-1:], base=small, drop_duplicates=True)
    with pytest.raises(DataError, match="All rows of"):
        adapted(tmp_path, rows, rows, base=small, drop_duplicates=True)
    assert not (tmp_path / "out").exists()


def test_a_search_that_cannot_be_run_claims_no_folder(tmp_path: Path, small: str) -> None:
    rng = random.Random(10)
    files = write(tmp_path / "train.jsonl", intents(rng, 16)), write(tmp_path / "dev.jsonl", intents(rng, 8))
    for settings in ({"top_layers": 9}, {"method": "head"}):
        with pytest.raises(ConfigError):
            adapt(settings, "classify", *files, tmp_path / "out", small, lambda *_: None, lambda _: None, num_trials=3)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("num_rows", "label", "settings", "method"),
    [
        (40, str, {}, "contrast"),
        (42, str, {}, "full"),
        (40, str, {"method": "full"}, "full"),
        (40, str, {"patience": 2}, "full"),
        (40, lambda label: [label], {}, "full"),
    ],
    ids=["few", "not few", "method given", "not heeded by contrasts", "several labels a row"],
)
def test_few_rows_a_label_are_learnt_by_contrasts(
    tmp_path: Path, small: str, monkeypatch: pytest.MonkeyPatch, num_rows: int, label: Any, settings: dict[str, Any], method: str
) -> None:
    """On the encoder that comes with Noria, for which a small one stands here; one that is named is tuned as ever."""
    monkeypatch.setattr("noria.lifecycle.adapt.DEFAULT_ENCODER", small)
    rows = [{"text": f"{one} {i}", "label": label(name)} for i in range(num_rows // 2) for name, one in (("pay", "send money"), ("card", "new card"))]
    files = write(tmp_path / "train.jsonl", rows), write(tmp_path / "dev.jsonl", rows[:8])
    for base, expected in ((None, method), (small, settings.get("method", "full"))):
        said: list[str] = []
        given = {"epochs": 0.5, "threads": 1, **settings}
        adapt(given, "classify", *files, tmp_path / f"out-{base is None}", base, lambda *_: None, said.append)
        assert any(sentence.startswith(f"Method {expected} on") for sentence in said)
        assert any("20 rows a label (on average) are few" in sentence for sentence in said) == (expected == "contrast")


def test_texts_that_are_cut_are_said_once_of_a_search(tmp_path: Path, small: str) -> None:
    rows = intents(random.Random(1), 16)
    files = write(tmp_path / "train.jsonl", [*rows, {"text": "please pay " * 300, "label": "pay"}]), write(tmp_path / "dev.jsonl", rows[:8])
    said: list[str] = []
    adapt({"epochs": 0.5, "threads": 1}, "classify", *files, tmp_path / "out", small, lambda *_: None, said.append, num_trials=2)
    assert sum("1 of 17 rows have a text of more than 62 tokens" in sentence for sentence in said) == 1


def race(tmp_path: Path, task: str, rows: list[dict[str, Any]], base: str, **settings: Any) -> tuple[Job, list[str]]:
    """What `noria tune --method best` is asked, and what it says."""
    said: list[str] = []
    file = read_file(write(tmp_path / "rows.jsonl", rows), cast(Task, task))
    given = {"method": "best", **settings}
    asked: dict[str, Any] = {"task": task, "train": file, "held_out": file, "out": tmp_path / "out", "base": base, "settings": given}
    job = Job(**asked, options={}, report=lambda *_: None, say=said.append)
    return job, said


def test_texts_that_are_cut_are_said_once_of_a_race(tmp_path: Path, small: str, writer: str) -> None:
    job, said = race(tmp_path, "classify", [*intents(random.Random(1), 8), {"text": "please pay " * 300, "label": "pay"}], small)
    _tell_of_rows(job, {"method": "lora"})
    assert [sentence.partition(": ")[2][:33] for sentence in said] == ["1 of 9 rows have a text of more t"] * 2
    rows = [{**row, "target": "light"} for row in [*letters(random.Random(2), 6), {"text": "river stone " * 90}]]
    job, said = race(tmp_path, "rewrite", rows, writer)
    _tell_of_rows(job, {"method": "lora", "max_tokens": 128})
    assert ["are longer than `max_tokens` = 128" in sentence for sentence in said] == [True] * 2
    job, said = race(tmp_path, "rewrite", rows, small)
    _tell_of_rows(job, {"method": "lora"})  # no decoder: the methods that do not train may race all the same
    assert said == []


def test_in_a_race_a_setting_goes_to_the_methods_that_heed_it(tmp_path: Path, small: str) -> None:
    job, _ = race(tmp_path, "classify", intents(random.Random(1), 8), small, patience=3, rank=4)
    heeding = {name: {method for method, own in _settings_of_methods(job).items() if name in own} for name in ("patience", "rank")}
    assert heeding == {"patience": {"lora", "full"}, "rank": {"lora"}}
    tagged = [{"tokens": ["pay", "card"], "tags": ["O", "B-X"]}]
    for settings, refused in (({"class_weights": "balanced"}, True), ({"class_weights": "balanced", "crf": False}, False)):
        job, _ = race(tmp_path, "tag", tagged, small, **settings)
        fault = _fault_of(job)("full", {"class_weights": "balanced"})
        assert (fault is not None and "Set `crf=false`" in str(fault)) == refused


def test_a_decoder_answers_where_its_first_token_sees_the_others(tmp_path: Path, writer: str) -> None:
    row = {"question": "light", "context": "river stone light garden", "answers": {"text": ["stone"], "answer_start": [6]}}
    files = write(tmp_path / "train.jsonl", [row] * 8), write(tmp_path / "dev.jsonl", [{**row, "question": "paper"}])
    said: list[str] = []
    given = {"epochs": 1.0, "threads": 1}
    with pytest.raises(ModelError, match="reads from left to right, and the first token"):
        adapt(given, "answer", *files, tmp_path / "out", writer, lambda *_: None, said.append)
    assert not (tmp_path / "out").exists()
    adapt({**given, "bidirectional": True}, "answer", *files, tmp_path / "out", writer, lambda *_: None, said.append)
    assert said[0].startswith(f"Method full on '{writer}': `learning_rate` 0.0001, `batch` 32, `max_tokens` 512, `precision` ")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"method": "prompt"}, "has a learnt prompt already"),
        ({"method": "lora", "top_layers": 3}, "Give a number from 1 to 2"),
        ({"method": "prompt", "top_layers": 1}, "`top_layers` is not heeded by `--method prompt`"),
        ({"method": "full", "rank": 4}, "`rank` is not heeded by `--method full` for rewrite"),
    ],
)
def test_what_a_decoder_cannot_be_tuned_with_leaves_the_folder_free(tmp_path: Path, writer: str, settings: dict[str, Any], told: str) -> None:
    """Whoever follows the advice may give the same `--out` again."""
    base = shutil.copytree(writer, tmp_path / "base")
    with_soft_tokens(load_tokenizer(base), 2).save(base)
    rows = [{**row, "target": row["text"]} for row in letters(random.Random(6), 8)]
    files = write(tmp_path / "train.jsonl", rows), write(tmp_path / "dev.jsonl", rows)
    with pytest.raises(ConfigError, match=told):
        adapt(settings, "rewrite", *files, tmp_path / "out", str(base), lambda *_: None, lambda _: None)
    assert not (tmp_path / "out").exists()


def test_what_turns_out_to_be_impossible_leaves_the_folder_free(tmp_path: Path, writer: str) -> None:
    """OPT's layers cannot be learnt apart from those below, which is seen with the model in hand."""
    shutil.copytree(writer, tmp_path / "base")
    sizes = {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "word_embed_proj_dim": 16}
    words = load_tokenizer(tmp_path / "base")
    special = {"bos_token_id": words.bos_id, "eos_token_id": words.eos_id, "pad_token_id": words.pad_id}
    OPTForCausalLM(OPTConfig(vocab_size=words.vocab_size, max_position_embeddings=512, **sizes, **special)).save_pretrained(tmp_path / "base")
    rows = [{**row, "target": row["text"]} for row in letters(random.Random(6), 8)]
    with pytest.raises(ModelError, match="cannot be parted for `top_layers`. Leave it out"):
        rewritten(tmp_path, str(tmp_path / "base"), rows, rows, top_layers=1)
    assert not (tmp_path / "out").exists()
    assert rewritten(tmp_path, str(tmp_path / "base"), rows, rows)[0].metrics["num_steps"] > 0


def test_a_folder_is_opened_if_it_is_finished_and_as_it_was_measured(tmp_path: Path, small: str) -> None:
    rng, out = random.Random(1), tmp_path / "out"
    files = write(tmp_path / "train.jsonl", intents(rng, 16)), write(tmp_path / "dev.jsonl", intents(rng, 8))
    given = {"method": "full", "precision": "float32", "epochs": 1.0, "batch": 8, "num_validations": 2, "threads": 1}
    adapt(given, "classify", *files, out, small, lambda *_: None, lambda _: None)
    assert not any("validation_loss" in line for line in (out / "curve.jsonl").read_text().splitlines())
    assert open_head(out).reader.precision == "float32"
    (out / GRAPH).unlink()
    weights = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").write_bytes(weights[:100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_head(out)
    told = json.loads((out / "head.json").read_text())
    (out / "head.json").write_text(json.dumps({**told, "task": "poetry"}))
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_head(out)
    (out / "head.json").write_text(json.dumps(told))
    (out / "tuned.json").unlink()
    with pytest.raises(ArtifactError, match="is not finished"):
        open_head(out)
    (out / "head.json").unlink()
    with pytest.raises(ArtifactError, match="was not made by `noria tune` for classify"):
        open_head(out)


@pytest.mark.parametrize("learnt", [False, True])
def test_a_failure_gives_the_folder_up_until_there_is_something_to_lose(tmp_path: Path, learnt: bool) -> None:
    scratch = tmp_path / "out/.tuning"
    claim(tmp_path / "out", scratch, {"settings": {}, "files": []}, "noria tune")
    if learnt:
        (scratch / "checkpoint-000000001.pt").touch()
    with pytest.raises(ModelError), given_up_on_failure(tmp_path / "out", scratch):
        raise ModelError("The loss is nan at step 2.")
    assert (tmp_path / "out").exists() == (scratch / "checkpoint-000000001.pt").is_file() == learnt


@pytest.mark.parametrize("scratch", [".tuning", ".search", ".race", ".run"])
def test_what_a_kill_left_is_told_as_unfinished(tmp_path: Path, scratch: str) -> None:
    claim(tmp_path, tmp_path / scratch, {"settings": {}, "files": []}, "noria tune")
    for opened in (open_head, lambda folder: open_folder(folder, "classify")):
        with pytest.raises(ArtifactError, match="is not finished.*Run the command that began it again"):
            opened(tmp_path)
