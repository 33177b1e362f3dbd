"""A learnt prompt's tokens in the GGUF file that is written, on a file that has only an embedding."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models

from noria.model.export import export_gguf
from noria.model.gguf_file import read_head, read_tensors
from noria.model.soft_tokens import soft_ids, with_soft_tokens
from noria.model.tokenizer import CONTROL, Tokenizer, load_tokenizer

WORDS = ["a", "b", "</s>"]
WIDTH = 32


def base(folder: Path, words: list[str]) -> Path:
    """A file whose vocabulary is `words`, and whose template says one word."""
    path = folder / "base.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    for name, value in (("block_count", 1), ("embedding_length", WIDTH), ("attention.head_count", 1), ("vocab_size", len(words))):
        writer.add_uint32(f"llama.{name}", value)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_array("tokenizer.ggml.tokens", words)
    writer.add_array("tokenizer.ggml.token_type", [1] * len(words))
    writer.add_uint32("tokenizer.ggml.eos_token_id", words.index("</s>"))
    writer.add_chat_template("hello")
    writer.add_tensor("token_embd.weight", np.zeros((len(words), WIDTH), dtype=np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        write()
    return path


def learnt(folder: Path, num_rows: int, template: str | None) -> Path:
    """A model folder with two soft tokens and nothing but an embedding and an output layer, each row of its own value."""
    full = FastTokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="a"))
    tokenizer = with_soft_tokens(Tokenizer(full, eos_token="</s>", pad_token=None, chat_template=template), 2)
    (folder / "learnt").mkdir()
    tokenizer.save(folder / "learnt")
    rows = np.repeat(np.arange(1, num_rows + 1, dtype=np.float32)[:, None], WIDTH, axis=1)
    save_file({"model.embed_tokens.weight": rows, "lm_head.weight": -rows}, folder / "learnt" / "model.safetensors")
    return folder / "learnt"


@pytest.mark.parametrize("spare", [0, 1, 2, 5])
@pytest.mark.parametrize("template", ["hi", None])
def test_soft_tokens_stand_where_the_model_has_them(tmp_path: Path, spare: int, template: str | None) -> None:
    """Behind the vocabulary, or in rows that the base has to spare; where the folder has no template, the file's own begins with them."""
    num_rows = max(len(WORDS) + spare, len(WORDS) + 2)
    gguf_file = base(tmp_path, [*WORDS, *(f"[PAD{number}]" for number in range(spare))])
    model = learnt(tmp_path, num_rows, template)
    made = export_gguf(model, gguf_file, tmp_path / "made.gguf", "F16")

    packed = load_tokenizer(made)
    assert soft_ids(packed) == soft_ids(load_tokenizer(model)) == (3, 4)
    assert packed.chat_template == "<|soft_0|><|soft_1|>" + (template or "hello")
    fields, tensors = read_head(made)
    assert fields["llama.vocab_size"].value == len(fields["tokenizer.ggml.tokens"].value) == num_rows
    assert list(fields["tokenizer.ggml.token_type"].value[3:5]) == [CONTROL, CONTROL]
    read = dict(read_tensors(made, tensors))
    assert read["token_embd.weight"][:, 0].tolist() == list(range(1, num_rows + 1))
    assert (read["output.weight"] == -read["token_embd.weight"]).all()

    again = export_gguf(model, made, tmp_path / "again.gguf", "F16")  # a base that has them already
    assert read_head(again)[0]["tokenizer.ggml.tokens"].value == fields["tokenizer.ggml.tokens"].value
