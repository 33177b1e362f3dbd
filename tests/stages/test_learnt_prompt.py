"""A prompt learnt for a GGUF base is in the GGUF file that comes out: its tokens, their vectors, and outputs that never say them."""

import json
from pathlib import Path

import numpy as np
import pytest

from noria.engine import OpenVINOGenerator, TransformersGenerator
from noria.lifecycle.adapt import adapt, predict_file
from noria.model import BaseModel, load_tokenizer, resolve, soft_ids
from noria.model.export import requantize_gguf
from noria.model.gguf_file import read_head, read_tensors
from noria.model.registry import DEFAULT_BASE
from noria.schema import GenerationRequest, Message

ROWS = [{"text": f"A {size} room for guest {number}.", "target": "no vacancy"} for number, size in enumerate(["double", "single", "quiet"] * 3)]


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learnt")
    for name, part in (("train", ROWS[:6]), ("dev", ROWS[6:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    given = {"method": "prompt", "prompt_tokens": 4, "epochs": 4.0, "batch_tokens": 64, "learning_rate": 0.3}
    adapt(given, "rewrite", folder / "train.jsonl", folder / "dev.jsonl", folder / "out", None, lambda *_: None, lambda _: None)
    return folder / "out"


def test_a_learnt_prompt_is_in_the_gguf_file(learnt: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    tokenizer, packed = load_tokenizer(learnt), load_tokenizer(learnt / "model.gguf")
    ids = soft_ids(packed)
    assert len(ids) == 4
    assert ids == soft_ids(tokenizer)
    assert packed.chat_template == tokenizer.chat_template
    assert packed.vocab_size == load_tokenizer(resolve(DEFAULT_BASE).path).vocab_size + 4

    fields, tensors = read_head(learnt / "model.gguf")
    assert fields["llama.vocab_size"].value == packed.vocab_size
    state, read = load_file(learnt / "model.safetensors"), dict(read_tensors(learnt / "model.gguf", tensors))
    for name, theirs in (("token_embd.weight", "model.embed_tokens.weight"), ("output.weight", "lm_head.weight")):
        np.testing.assert_allclose(read[name], state[theirs], atol=0.02)  # Q8_0
    assert not read["output.weight"][list(ids)].any()
    assert read["token_embd.weight"][list(ids)].any(axis=1).all()

    requantize_gguf(learnt / "model.gguf", tmp_path / "again.gguf", "F16")  # such a file may be written again
    assert soft_ids(load_tokenizer(tmp_path / "again.gguf")) == ids


def test_a_learnt_prompt_is_served_as_it_was_learnt(learnt: Path) -> None:
    """Both engines read the soft tokens first, and go on from them alike within what Q8_0 rounds; the bare base does not."""
    request = GenerationRequest(messages=(Message(role="user", content=ROWS[0]["text"]),), max_tokens=3)
    by_torch = TransformersGenerator(BaseModel(name="learnt", kind="folder", path=learnt)).generate(request)
    with OpenVINOGenerator(learnt / "model.gguf") as served, OpenVINOGenerator(resolve(DEFAULT_BASE).path) as bare:
        by_openvino, without = served.generate(request), bare.generate(request)
    ids = soft_ids(load_tokenizer(learnt))
    assert by_openvino.prompt_token_ids == by_torch.prompt_token_ids == ids + without.prompt_token_ids
    assert by_openvino.token_ids == by_torch.token_ids
    np.testing.assert_allclose(by_openvino.logprobs, by_torch.logprobs, atol=0.15)
    assert np.abs(np.subtract(by_openvino.logprobs, without.logprobs)).max() > 0.3


def test_predictions_are_asked_of_the_gguf_file(learnt: Path, tmp_path: Path) -> None:
    predict_file(str(learnt), "rewrite", learnt.parent / "dev.jsonl", tmp_path / "said.jsonl", lambda *_: None)
    assert len((tmp_path / "said.jsonl").read_text().splitlines()) == 3
