"""A model folder behind the default engine: OpenVINO computes its GGUF file as transformers computes the folder."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import gguf
import pytest
import torch
import transformers
from tokenizers import AddedToken, pre_tokenizers, trainers

from noria.engine import EngineConfig, OpenVINOGenerator, TransformersGenerator, open_generator
from noria.errors import ModelError
from noria.lifecycle.adapt import adapt
from noria.lifecycle.candidate import MODEL_DIR, build_engine
from noria.lifecycle.improve import improve
from noria.lifecycle.measure import open_plain
from noria.lifecycle.releases import Records
from noria.model import (
    Tokenizer,
    exact_gguf,
    export_gguf,
    load_checkpoint,
    load_for_training,
    load_tokenizer,
    plain_checkpoint,
    read_config,
    resolve,
    served_gguf,
    soft_ids,
)
from noria.model.folder_head import folder_head
from noria.model.gguf_file import read_head
from noria.model.registry import BaseModel
from noria.model.tokenizer import byte_level
from noria.schema import GenerationRequest, Message
from noria.serve import first_release
from noria.serve.serving import WEIGHTS_DIR, WEIGHTS_FILE, load_release
from noria.testing.project import write_small_project

TEXTS = [f"Guest {number} of the lake hotel asks for room {number * 7}; 客人要一间房。" for number in range(99)]
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))


def small(folder: Path, kind: str = "llama", hidden: int = 128) -> Path:
    """A model folder with random weights."""
    full = byte_level("smollm" if kind == "llama" else "qwen2", {}, ())
    special = [AddedToken(text, special=True, normalized=False) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    full.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False))  # type: ignore[call-arg]
    tokenizer = Tokenizer(full, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML)
    shape = {"hidden_size": 64, "intermediate_size": hidden, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    if kind != "qwen2":
        shape["head_dim"] = 32  # the heads together are wider than the model, as in Qwen3-0.6B
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        kind, vocab_size=tokenizer.vocab_size + 4, tie_word_embeddings=kind != "qwen2", initializer_range=0.3, **ids, **shape
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.mark.parametrize(("kind", "hidden"), [("llama", 128), ("qwen2", 128), ("qwen3", 128), ("llama", 100)])
def test_openvino_computes_what_transformers_does(tmp_path: Path, kind: str, hidden: int) -> None:
    """Rows of 100 are no multiple of what Q8_0 rounds together."""
    folder = small(tmp_path / "model", kind, hidden)
    base = BaseModel(name="mine", kind="folder", path=folder)
    rounded = load_for_training(BaseModel(name="mine", kind="gguf", path=served_gguf(base)))[0]
    request = GenerationRequest(messages=(Message(role="user", content="一间房, room 35?"),), max_tokens=12)
    generator = open_generator(EngineConfig(kind="openvino"), tmp_path, gguf_override=folder)
    try:
        found = generator.generate(request)
    finally:
        generator.close()
    assert len(found.token_ids) > 1
    for model, tolerance in ((rounded, 1e-3), (load_checkpoint(folder), 0.5)):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([[*found.prompt_token_ids, *found.token_ids]])).logits[0, len(found.prompt_token_ids) - 1 : -1]
        expected = logits.log_softmax(-1).gather(1, torch.tensor([found.token_ids]).T).flatten().tolist()
        assert max(abs(one - other) for one, other in zip(expected, found.logprobs, strict=True)) < tolerance


def test_a_file_with_matrices_in_float32_is_rounded_before_it_is_served(tmp_path: Path) -> None:
    folder = small(tmp_path / "model")
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr("noria.model.export._kind", lambda *_: gguf.GGMLQuantizationType.F32)
        export_gguf(folder, None, tmp_path / "wide.gguf")
    rounded = exact_gguf(tmp_path / "wide.gguf")
    assert rounded != tmp_path / "wide.gguf"
    assert exact_gguf(rounded) == rounded
    generator = open_generator(EngineConfig(kind="openvino"), tmp_path, gguf_override=tmp_path / "wide.gguf")
    try:
        assert generator.generate(GenerationRequest(messages=(Message(role="user", content="room"),), max_tokens=2)).token_ids
    finally:
        generator.close()


@pytest.mark.parametrize("method", ["full", "prompt"])
def test_a_tuned_folder_is_asked_through_a_file_too(tmp_path: Path, method: str) -> None:
    rows = [{"text": f"{text} {number}", "target": "room"} for number, text in enumerate(TEXTS[:24])]
    paths = [tmp_path / name for name in ("train.jsonl", "dev.jsonl")]
    for path, part in zip(paths, (rows[:16], rows[16:]), strict=True):
        path.write_text("".join(json.dumps(row) + "\n" for row in part))
    settings = {"method": method, "epochs": 1.0, "threads": 1} | ({"prompt_tokens": 3} if method == "prompt" else {})
    adapt(settings, "rewrite", *paths, tmp_path / "out", str(small(tmp_path / "model")), lambda *_: None, lambda _: None)
    packed = load_tokenizer(tmp_path / "out" / "model.gguf")
    assert packed.added_tokens == load_tokenizer(tmp_path / "out").added_tokens
    assert len(soft_ids(packed)) == (3 if method == "prompt" else 0)
    generator = open_plain(str(tmp_path / "out"))
    try:
        assert isinstance(generator, OpenVINOGenerator)
        assert generator.generate(GenerationRequest(messages=(Message(role="user", content="room"),), max_tokens=4)).token_ids
    finally:
        generator.close()


@pytest.mark.parametrize(("engine", "place"), [("openvino", WEIGHTS_FILE), ("transformers", WEIGHTS_DIR)])
def test_a_release_of_a_folder_is_what_its_engine_reads(tmp_path: Path, engine: str, place: str) -> None:
    folder = small(tmp_path / "model")
    project = write_small_project(tmp_path / "desk", f'[model]\nbase = "{folder}"\n[engine]\nkind = "{engine}"\n')
    with Records.open(project) as records:
        model = records.artifacts.build("model", {}, {}, 0, lambda made: {"at": str(shutil.copytree(folder, made / MODEL_DIR))})
        made = build_engine(records, model, lambda *_: None)
        assert [path.name for path in made.path.iterdir() if path.name in (WEIGHTS_FILE, WEIGHTS_DIR)] == [place]
        live = first_release(project, records.releases, records.artifacts)
        with closing(load_release(project, records.artifacts, records.traces, live)) as serving:
            assert type(serving.generator) is (OpenVINOGenerator if engine == "openvino" else TransformersGenerator)


def test_no_release_is_made_of_what_its_engine_does_not_read(tmp_path: Path) -> None:
    folder = small(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}))
    project = write_small_project(tmp_path / "desk", f'[model]\nbase = "{folder}"\n')
    with Records.open(project) as records:
        with pytest.raises(ModelError, match="cannot be written as GGUF"):
            first_release(project, records.releases, records.artifacts)
        assert records.releases.list() == []
    with pytest.raises(ModelError, match="cannot be written as GGUF"):  # before anything is measured or tuned
        improve(project, progress=lambda *_: pytest.fail("something was done"))


def test_the_head_of_the_embedded_model_is_what_its_makers_wrote() -> None:
    """Its plain checkpoint, which we made from their file, leads back to every field of theirs that says what the model computes."""
    base = resolve("smollm2-135m")
    theirs, places = read_head(base.path)
    ours, tensors = folder_head(plain_checkpoint(base))
    assert {name: tensor.shape for name, tensor in tensors.items()} == {name: tensor.shape for name, tensor in places.items()}
    shared = [name for name in theirs if name in ours and name != "general.name"]
    assert {f"llama.{name}" for name in ("block_count", "rope.freq_base", "attention.layer_norm_rms_epsilon", "attention.head_count_kv")} <= set(
        shared
    )
    assert {f"tokenizer.ggml.{name}" for name in ("model", "pre", "tokens", "token_type", "merges", "eos_token_id")} <= set(shared)
    for name in shared:
        assert (ours[name].kind, ours[name].item_kind) == (theirs[name].kind, theirs[name].item_kind), name
        assert (
            ours[name].value == pytest.approx(theirs[name].value) if isinstance(ours[name].value, float) else ours[name].value == theirs[name].value
        )
    assert read_config(plain_checkpoint(base)).vocab_size == len(ours["tokenizer.ggml.tokens"].value)
