"""A Hugging Face folder as GGUF: the file reads back as the same model and tokenizer, and what it could not say is refused by name."""

import json
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as FastTokenizer

from noria.errors import ModelError
from noria.model import BaseModel, Tokenizer, export_gguf, has_gguf, load_tokenizer, served_gguf, train_tokenizer
from noria.model.checkpoint import dequantize
from noria.model.export import _written
from noria.model.folder_head import folder_head
from noria.model.gguf_file import read_head, read_tensors
from noria.model.tokenizer import PRE_TOKENIZERS, byte_level

TEXTS = ["The lake lies still. It's 2026; don't pay 12345.67!", "请给我订一间房，住3晚。", "a\n\n\tb   c", "naïve café 🎉"] * 4
SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}


def words(pre: str) -> Tokenizer:
    """A tokenizer that takes text apart as `pre` says, with two special tokens and one that is none."""
    full = byte_level(pre, {}, ())
    special = [AddedToken(text, special=True, normalized=False) for text in ("<end>", "<pad>")]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    full.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False))  # type: ignore[call-arg]
    full.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return Tokenizer(full, eos_token="<end>", pad_token="<pad>", chat_template="{{ messages[0].content }}<end>")


def made(folder: Path, kind: str = "llama", tokenizer: Tokenizer | None = None, spare: int = 0, **settings: Any) -> Path:
    """A model folder with random weights, whose embedding has `spare` rows more than there are tokens."""
    tokenizer = tokenizer or words("smollm")
    folder.mkdir(exist_ok=True)
    ids = {"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id, "bos_token_id": None}
    size = tokenizer.vocab_size + spare
    config = transformers.AutoConfig.for_model(kind, **{"vocab_size": size, "tie_word_embeddings": True, **ids, **SHAPE, **settings})
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save(folder)
    return folder


def changed(folder: Path, **settings: Any) -> Path:
    """The folder with other entries of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_weights_and_configuration_read_back(tmp_path: Path, kind: str, tied: bool) -> None:
    folder = made(tmp_path / "folder", kind, tie_word_embeddings=tied, rms_norm_eps=3e-5)
    (tmp_path / "back").mkdir()
    dequantize(export_gguf(folder, None, tmp_path / "made.gguf", "F16"), tmp_path / "back")

    ours, back = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "back"))
    assert ours.keys() == back.keys()
    assert all(np.allclose(ours[name], back[name], rtol=1e-3, atol=1e-6) for name in ours)
    before, after = (transformers.AutoConfig.from_pretrained(path).to_dict() for path in (folder, tmp_path / "back"))
    named = (*SHAPE, "vocab_size", "max_position_embeddings", "rope_parameters", "tie_word_embeddings", "eos_token_id", "model_type")
    assert {name: before.get(name) for name in named} == {name: after.get(name) for name in named}
    assert before["rms_norm_eps"] == pytest.approx(after["rms_norm_eps"])


@pytest.mark.parametrize("pre", [name for name in PRE_TOKENIZERS if name != "default"])
def test_a_tokenizer_reads_back_by_llama_cpps_name_for_it(tmp_path: Path, pre: str) -> None:
    folder = made(tmp_path / "folder", tokenizer=words(pre), spare=3)
    path = export_gguf(folder, None, tmp_path / "made.gguf")
    assert read_head(path)[0]["tokenizer.ggml.pre"].value == pre

    ours, back = load_tokenizer(folder), load_tokenizer(path)
    assert [ours.encode(text) for text in (*TEXTS, "<end><tool>")] == [back.encode(text) for text in (*TEXTS, "<end><tool>")]
    assert (ours.eos_id, ours.pad_id, ours.bos_id, ours.special_ids) == (back.eos_id, back.pad_id, back.bos_id, back.special_ids)
    assert (ours.chat_template, ours.added_tokens) == (back.chat_template, back.added_tokens)
    assert back.token_strings() == ours.token_strings()
    assert read_head(path)[0]["tokenizer.ggml.tokens"].value[ours.vocab_size :] == [f"[PAD{ours.vocab_size + number}]" for number in range(3)]


def test_a_role_may_be_played_by_a_spare_row(tmp_path: Path) -> None:
    folder = made(tmp_path / "folder", spare=3)
    path = export_gguf(folder, None, tmp_path / "made.gguf")
    fields, tensors = read_head(path)
    last = len(fields["tokenizer.ggml.tokens"].value) - 1
    fields["tokenizer.ggml.padding_token_id"] = replace(fields["tokenizer.ggml.padding_token_id"], value=last)
    _written(read_tensors(path, tensors), fields, tmp_path / "other.gguf", "Q8_0", None)
    assert load_tokenizer(tmp_path / "other.gguf").pad_id == last


def test_a_word_that_is_an_added_token_stays_text(tmp_path: Path) -> None:
    """Llama 3 takes words of its vocabulary as they are, and an added token is none of them, whatever the file says."""
    tokenizer = words("llama-bpe")
    full = FastTokenizer.from_str(tokenizer.to_json())
    full.add_special_tokens([AddedToken("Guest", special=True, normalized=False)])
    folder = made(tmp_path / "folder", tokenizer=tokenizer.replaced(full, None))
    back = load_tokenizer(export_gguf(folder, None, tmp_path / "made.gguf"))
    assert back.encode("Guest") == load_tokenizer(folder).encode("Guest") == tokenizer.encode("Guest")
    assert back.special_id("Guest") not in back.encode("Guest")


@given(st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from(string.whitespace + string.digits + "'’sS"))))
def test_any_text_becomes_the_same_tokens(both: tuple[Tokenizer, Tokenizer], text: str) -> None:
    ours, back = both
    assert ours.encode(text) == back.encode(text)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Tokenizer]:
    """A tokenizer of a folder, and what the GGUF file makes of it."""
    folder = made(tmp_path_factory.mktemp("both") / "folder", "qwen3", words("qwen2"))
    return load_tokenizer(folder), load_tokenizer(export_gguf(folder, None, folder / "made.gguf"))


def _of_words() -> Tokenizer:
    full = FastTokenizer(models.WordLevel({"a": 0, "<end>": 1}, unk_token="a"))
    return Tokenizer(full, eos_token="<end>", pad_token=None)


def _without_merges() -> Tokenizer:
    full = byte_level("gpt-2", {character: at for at, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, ())
    full.add_special_tokens([AddedToken("<end>", special=True)])
    return Tokenizer(full, eos_token="<end>", pad_token=None)


def _too_few_rows(folder: Path) -> Path:
    return made(folder, spare=-1)


def _of_old_form(folder: Path) -> Path:
    (made(folder) / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


def _cut_off(folder: Path) -> Path:
    path = made(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    return folder


REFUSED: list[tuple[Callable[[Path], Path], str]] = [
    (lambda folder: made(folder, "gpt2", n_embd=64, n_layer=1, n_head=2), "architecture 'gpt2'; possible: llama, qwen2, qwen3"),
    (lambda folder: made(folder, tokenizer=_of_words()), r"its tokenizer \(WordLevel\) is not byte-level BPE"),
    (lambda folder: made(folder, tokenizer=train_tokenizer("unigram", TEXTS, 100, "clm", at_most=True)), r"its tokenizer \(Unigram\)"),
    (lambda folder: made(folder, attention_bias=True), "in the tensor 'blk.0.attn_k.bias' it differs from a plain llama"),
    (lambda folder: changed(made(folder, "qwen3"), head_dim=None), "in the tensor 'blk.0.attn_k.weight' it differs from a plain qwen3"),
    (lambda folder: made(folder, tokenizer=_without_merges()), r"its tokenizer \(BPE\) is not byte-level BPE with merges"),
    (lambda folder: changed(made(folder), rope_parameters={"rope_type": "yarn", "factor": 4.0}), "positions are not encoded by plain rotation"),
    (lambda folder: changed(made(folder), rope_parameters=None, rope_scaling={"type": "linear", "factor": 2.0}), "not encoded by plain rotation"),
    (lambda folder: changed(made(folder, "qwen2"), use_sliding_window=True), "attends within a window"),
    (lambda folder: changed(made(folder), hidden_act="gelu"), "its activation is 'gelu'"),
    (lambda folder: changed(made(folder), tie_word_embeddings=None), "in the tensor 'output.weight' it differs from a plain llama"),
    (lambda folder: changed(made(folder), hidden_size=None), "its config.json has no `hidden_size`"),
    (_too_few_rows, "325 rows for the 326 tokens of its tokenizer"),
    (_of_old_form, "it holds no model.safetensors"),
    (_cut_off, "damaged or cut off"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_a_file_cannot_say_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    folder = make(tmp_path / "folder")
    with pytest.raises(ModelError, match=message):
        folder_head(folder)
    assert not has_gguf(BaseModel(name="folder", kind="folder", path=folder))


def test_what_follows_from_the_configuration_may_lie_among_the_weights(tmp_path: Path) -> None:
    folder = made(tmp_path / "folder")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)}, folder / "model.safetensors")
    assert read_head(export_gguf(folder, None, tmp_path / "made.gguf"))[1].keys() == folder_head(folder)[1].keys()


def test_weights_in_parts_are_read_and_what_lies_beside_them_is_not(tmp_path: Path) -> None:
    folder = made(tmp_path / "folder")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for number, part in enumerate((names[:9], names[9:]), start=1):
        save_file({name: weights[name] for name in part}, folder / f"model-0000{number}-of-00002.safetensors")
    index = {name: f"model-0000{1 if name in names[:9] else 2}-of-00002.safetensors" for name in names}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    save_file({"adapter": torch.zeros(3)}, folder / "adapter_model.safetensors")
    save_file({names[0]: torch.zeros(3)}, folder / "model-00003-of-00003.safetensors")
    (tmp_path / "back").mkdir()
    dequantize(export_gguf(folder, None, tmp_path / "made.gguf", "F16"), tmp_path / "back")
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert back.keys() == weights.keys()
    assert all(np.allclose(weights[name], back[name], rtol=1e-3, atol=1e-6) for name in weights)

    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"incomplete: 'model-00002-of-00002.safetensors' is missing. Fetch it again."):
        folder_head(folder)


def test_an_output_layer_that_is_there_counts_whatever_the_configuration_says(tmp_path: Path) -> None:
    folder = changed(made(tmp_path / "folder", tie_word_embeddings=False), tie_word_embeddings=True)
    weights = load_file(folder / "model.safetensors")
    (tmp_path / "back").mkdir()
    dequantize(export_gguf(folder, None, tmp_path / "made.gguf", "F16"), tmp_path / "back")
    assert np.allclose(load_file(tmp_path / "back" / "model.safetensors")["lm_head.weight"], weights["lm_head.weight"], rtol=1e-3, atol=1e-6)


def test_positions_are_read_where_transformers_reads_them(tmp_path: Path) -> None:
    """Before version 5 the base of the rotation stood apart; what is scaled says so in the older place even where the newer one is plain."""
    folder = changed(made(tmp_path / "folder"), rope_parameters={"rope_type": "default"}, rope_theta=1e6)
    assert folder_head(folder)[0]["llama.rope.freq_base"].value == 1e6
    changed(folder, rope_scaling={"rope_type": "yarn", "factor": 4.0})
    with pytest.raises(ModelError, match="positions are not encoded by plain rotation"):
        folder_head(folder)


def test_a_folder_is_converted_once_and_anew_when_its_weights_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    base = BaseModel(name="mine", kind="folder", path=made(tmp_path / "mine"))
    first = served_gguf(base)
    began = first.stat().st_mtime_ns
    assert (served_gguf(base), first.stat().st_mtime_ns) == (first, began)

    path = base.path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert served_gguf(base) != first
