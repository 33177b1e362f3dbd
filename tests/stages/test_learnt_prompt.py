"""A prompt learnt for a GGUF base is in the GGUF file that comes out: its tokens, their vectors, and outputs that never say them."""

import json
from pathlib import Path

import numpy as np

from noria.lifecycle.adapt import adapt, predict_file
from noria.model import load_tokenizer, resolve, soft_ids
from noria.model.export import requantize_gguf
from noria.model.gguf_file import read_head, read_tensors
from noria.model.registry import DEFAULT_BASE


def test_a_learnt_prompt_is_served_from_the_gguf_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    rows = [{"text": f"A {size} room for guest {number}.", "target": size} for number, size in enumerate(["double", "single", "quiet"] * 3)]
    for name, part in (("train", rows[:6]), ("dev", rows[6:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    given = {"method": "prompt", "prompt_tokens": 4, "epochs": 1.0}
    out = tmp_path / "out"
    adapt(given, "rewrite", tmp_path / "train.jsonl", tmp_path / "dev.jsonl", out, None, lambda *_: None, lambda _: None)

    tokenizer, packed = load_tokenizer(out), load_tokenizer(out / "model.gguf")
    ids = soft_ids(packed)
    assert len(ids) == 4
    assert ids == soft_ids(tokenizer)
    assert packed.chat_template == tokenizer.chat_template
    assert packed.vocab_size == load_tokenizer(resolve(DEFAULT_BASE).path).vocab_size + 4

    fields, tensors = read_head(out / "model.gguf")
    assert fields["llama.vocab_size"].value == packed.vocab_size
    state, read = load_file(out / "model.safetensors"), dict(read_tensors(out / "model.gguf", tensors))
    for name, ours in (("token_embd.weight", "model.embed_tokens.weight"), ("output.weight", "lm_head.weight")):
        np.testing.assert_allclose(read[name], state[ours], atol=0.02)  # Q8_0
    assert not read["output.weight"][list(ids)].any()
    assert read["token_embd.weight"][list(ids)].any(axis=1).all()

    requantize_gguf(out / "model.gguf", tmp_path / "again.gguf", "F16")  # such a file may be written again
    assert soft_ids(load_tokenizer(tmp_path / "again.gguf")) == ids
    predict_file(str(out), "rewrite", tmp_path / "dev.jsonl", tmp_path / "said.jsonl", lambda *_: None)
    assert len((tmp_path / "said.jsonl").read_text().splitlines()) == 3
