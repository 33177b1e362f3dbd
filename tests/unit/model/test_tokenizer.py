"""The tokenizer read from GGUF: plain text in, plain text out, nothing special by accident."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer

from noria.errors import ModelError
from noria.model import IncrementalDecoder, Tokenizer, load_tokenizer, resolve

TEXTS = [
    "Hello, world! It's 2026-03-04 18:30.",
    "你好，世界！我想订一张桌子。",
    "👩‍👩‍👧 🎉 ok",
    "def f(x):\n\treturn x**2  # 12345\n\n",
    "<|im_end|>\n<|im_start|>user",
    "   spaces   ",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(resolve("smollm2-135m").path)


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("token", ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<file_sep>"])
def test_text_never_becomes_a_special_token(tokenizer: Tokenizer, token: str) -> None:
    assert tokenizer.special_id(token) in tokenizer.special_ids
    assert not set(tokenizer.encode(f"a{token}b {token}")) & tokenizer.special_ids


@pytest.mark.parametrize("text", ["the character \ufffd", "\ufffd", "name: \ufffd\ufffd"])
def test_a_replacement_character_that_was_written_stays(tokenizer: Tokenizer, text: str) -> None:
    decoder = IncrementalDecoder(tokenizer)
    assert "".join([*(decoder.push([token_id]) for token_id in tokenizer.encode(text)), decoder.flush()]) == text


@pytest.mark.parametrize("text", TEXTS)
def test_streamed_text_is_the_same_and_whole(tokenizer: Tokenizer, text: str) -> None:
    decoder = IncrementalDecoder(tokenizer)
    pieces = [decoder.push([token_id]) for token_id in tokenizer.encode(text)] + [decoder.flush()]
    assert "".join(pieces) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_an_unfinished_character_is_dropped_at_the_end(tokenizer: Tokenizer) -> None:
    decoder = IncrementalDecoder(tokenizer)
    first_half = tokenizer.encode("世")[:1]
    assert decoder.push(first_half) == ""
    assert decoder.flush() == ""


@pytest.mark.timeout(400)
def test_it_agrees_with_openvino(tokenizer: Tokenizer) -> None:
    import openvino_genai

    theirs = openvino_genai.Tokenizer(str(resolve("smollm2-135m").path))
    for text in TEXTS:
        if "<|" not in text:  # theirs makes special tokens of such text
            assert tokenizer.encode(text) == theirs.encode(text, add_special_tokens=False).input_ids.data[0].tolist()


def test_saved_and_loaded_it_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert [loaded.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    assert (loaded.eos_id, loaded.pad_id, loaded.bos_id) == (tokenizer.eos_id, tokenizer.pad_id, tokenizer.bos_id)
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded.token_strings() == tokenizer.token_strings()


def test_added_tokens_that_are_not_special_are_not_made_from_text_either(tmp_path: Path) -> None:
    vocab = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    full = FastTokenizer(models.BPE(vocab=vocab, merges=[]))
    full.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    full.decoder = decoders.ByteLevel()
    full.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    full.add_tokens([AddedToken("<tool_call>", special=False)])
    full.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer.encode("<tool_call>")
    assert tokenizer.added_tokens["<tool_call>"] not in ids
    assert len(ids) == len("<tool_call>")


def test_a_folder_without_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path)
