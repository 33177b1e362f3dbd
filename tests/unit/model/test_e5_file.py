"""A packed 4-bit encoder becomes a folder that transformers reads, with the weights that its blocks stand for."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noria.errors import ModelError
from noria.model import load_tokenizer
from noria.model.e5_file import to_folder

WIDTH, INNER, POSITIONS, KINDS = 32, 64, 16, 2
PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -5.0), ("▁hello", -3.0), ("你好", -3.0), ("界", -6.0)]


def packed(matrix: Any) -> tuple[bytes, Any]:
    """Blocks of 32 weights, and the weights that they stand for."""
    out, stood = b"", np.empty_like(matrix)
    for row, values in enumerate(matrix):
        for at in range(0, len(values), 32):
            part = values[at : at + 32]
            scale = np.float16(np.abs(part).max() / 7)
            whole = np.clip(np.round(part / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
            out += scale.tobytes() + bytes(int(low) | int(high) << 4 for low, high in zip(whole[:16], whole[16:], strict=True))
            stood[row, at : at + 32] = (whole.astype(np.float32) - 8) * np.float32(scale)
    return out, stood


def packed_file(path: Path) -> dict[str, Any]:
    """A file of one layer; the tensors that it stands for come back."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"emb.word": (len(PIECES), WIDTH), "emb.pos": (POSITIONS, WIDTH), "emb.type": (KINDS, WIDTH)}
    shapes |= {
        "emb.ln.w": (WIDTH,),
        "emb.ln.b": (WIDTH,),
        "l0.fi.w": (INNER, WIDTH),
        "l0.fi.b": (INNER,),
        "l0.fo.w": (WIDTH, INNER),
        "l0.fo.b": (WIDTH,),
    }
    shapes |= {f"l0.{name}.w": (WIDTH, WIDTH) for name in ("q", "k", "v", "ao")} | {f"l0.{name}.b": (WIDTH,) for name in ("q", "k", "v", "ao")}
    shapes |= {f"l0.{name}.{part}": (WIDTH,) for name in ("aln", "oln") for part in ("w", "b")}
    blob = [piece.encode() for piece, _ in PIECES]
    offsets = np.cumsum([0, *map(len, blob)]).astype("<u4")
    head = b"E5S1" + struct.pack("<i7ifi", 1, WIDTH, 1, 2, INNER, len(PIECES), POSITIONS, KINDS, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, int(offsets[-1])) + offsets.tobytes()
    head += np.array([score for _, score in PIECES], dtype="<f4").tobytes() + b"".join(blob) + struct.pack("<iI", 0, 0)
    stood: dict[str, Any] = {}
    bodies: list[bytes] = []
    for name, shape in shapes.items():
        value = rng.normal(size=shape).astype(np.float32)
        is_matrix = len(shape) == 2 and name not in ("emb.pos", "emb.type")
        body, stood[name] = packed(value) if is_matrix else (value.tobytes(), value)
        bodies.append(body)
    at = len(head) + 4 + sum(2 + len(name) + 21 for name in shapes)
    directory = struct.pack("<i", len(shapes))
    for (name, shape), body in zip(shapes.items(), bodies, strict=True):
        directory += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", 0, int(np.prod(shape)), at, len(body))
        at += len(body)
    path.write_bytes(head + directory + b"".join(bodies))
    return stood


def test_transformers_reads_the_folder(tmp_path: Path) -> None:
    from transformers import AutoModel

    stood = packed_file(tmp_path / "e5.bin")
    (tmp_path / "folder").mkdir()
    to_folder(tmp_path / "e5.bin", tmp_path / "folder")
    weights = {name: value.float().numpy() for name, value in AutoModel.from_pretrained(tmp_path / "folder").state_dict().items()}
    for name, ours in (
        ("embeddings.word_embeddings.weight", "emb.word"),
        ("encoder.layer.0.attention.self.value.weight", "l0.v.w"),
        ("encoder.layer.0.output.dense.weight", "l0.fo.w"),
        ("encoder.layer.0.intermediate.dense.bias", "l0.fi.b"),
        ("encoder.layer.0.output.LayerNorm.weight", "l0.oln.w"),
    ):
        np.testing.assert_allclose(weights[name], stood[ours], rtol=1e-3, atol=1e-4)
    assert json.loads((tmp_path / "folder/1_Pooling/config.json").read_text())["pooling_mode_mean_tokens"]


def test_its_pieces_are_its_tokens_in_both_languages(tmp_path: Path) -> None:
    packed_file(tmp_path / "e5.bin")
    (tmp_path / "folder").mkdir()
    to_folder(tmp_path / "e5.bin", tmp_path / "folder")
    words = load_tokenizer(tmp_path / "folder")
    assert words.encode("hello") == [5]
    assert words.encode("你好界") == [4, 6, 7]
    assert words.encode("ｈｅｌｌｏ") == [5]
    assert (words.role_id("cls_token"), words.role_id("sep_token"), words.pad_id) == (0, 2, 1)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"E5S1", b"E5S1" + b"\x01" * 60])
def test_what_is_no_such_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e5.bin").write_bytes(content)
    with pytest.raises(ModelError, match=r"e5\.bin"):
        to_folder(tmp_path / "e5.bin", tmp_path)
