"""The head of a GGUF file, read; and files that are broken."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from noria.errors import ModelError
from noria.model.gguf_file import read_head, read_metadata, read_tensors


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_string("general.name", "小さい")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_bool("tokenizer.ggml.add_bos_token", False)
    writer.add_array("tokenizer.ggml.tokens", ["a", "ß", "<|im_end|>"])
    writer.add_array("tokenizer.ggml.token_type", [1, 1, 3])
    weight = np.arange(128, dtype=np.float32).reshape(2, 64) / 100
    for name, kind in (("plain", "F32"), ("half", "F16"), ("eight", "Q8_0"), ("four", "Q4_0")):
        quantized = gguf.quants.quantize(weight, gguf.GGMLQuantizationType[kind])
        writer.add_tensor(name, quantized, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_metadata(small: Path) -> None:
    fields = read_metadata(small)
    assert {name: field.value for name, field in fields.items()} == {
        "general.architecture": "llama",
        "general.name": "小さい",
        "llama.block_count": 2,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.tokens": ["a", "ß", "<|im_end|>"],
        "tokenizer.ggml.token_type": [1, 1, 3],
    }


def test_tensors(small: Path) -> None:
    _, places = read_head(small)
    weights = dict(read_tensors(small, places))
    assert {name: weight.shape for name, weight in weights.items()} == dict.fromkeys(["plain", "half", "eight", "four"], (2, 64))
    np.testing.assert_array_equal(weights["plain"].ravel(), np.arange(128, dtype=np.float32) / 100)
    np.testing.assert_allclose(weights["half"], weights["plain"], rtol=1e-3)
    np.testing.assert_allclose(weights["eight"], weights["plain"], atol=0.005)
    np.testing.assert_allclose(weights["four"], weights["plain"], atol=0.1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"MAGIC" + data[5:], "is no GGUF file"),
        (lambda data: data[:60], "damaged or cut-off"),
        (lambda data: data[:4] + b"\x09" + data[5:], "version 9"),
        (lambda data: b"", "damaged or cut-off"),
    ],
)
def test_broken_files(small: Path, damage, message: str) -> None:
    small.write_bytes(damage(small.read_bytes()))
    with pytest.raises(ModelError, match=message):
        read_metadata(small)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No GGUF file"):
        read_metadata(tmp_path / "none.gguf")


def test_cut_off_tensors(small: Path) -> None:
    _, places = read_head(small)
    small.write_bytes(small.read_bytes()[:-200])
    with pytest.raises(ModelError, match="cannot be read"):
        dict(read_tensors(small, places))
