"""Writing a model as GGUF: the one file that OpenVINO, llama.cpp, Ollama and LM Studio read.

In: a Hugging Face folder or a state of named tensors (adapters merged), and the GGUF file the model began as, if it began as one. Out: a new GGUF
file with the base's metadata (tokenizer, chat template, shapes), or the folder's own, and the weights as Q8_0 or F16; norms and biases stay fp32. A
learnt prompt adds its tokens to the vocabulary. The file appears whole or not at all.
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from noria.config import home_dir
from noria.errors import ArtifactError, DependencyError, ModelError
from noria.model import layout
from noria.model.checkpoint import fingerprint
from noria.model.folder_head import COMPUTED, folder_head, weight_files
from noria.model.gguf_file import ARRAY, GgufField, GgufTensor, read_head, read_tensors
from noria.model.registry import BaseModel
from noria.model.soft_tokens import soft_ids
from noria.model.tokenizer import CONTROL, Tokenizer, load_tokenizer

Precision = Literal["Q8_0", "F16"]
_FILE_TYPES = {"Q8_0": 7, "F16": 1}  # llama.cpp's numbers for `general.file_type`
_EXACT_KINDS = {1, 2, 8}  # F16, Q4_0, Q8_0
_BLOCK = 32  # weights that share a scale in Q8_0
_SKIPPED = {"general.architecture", "general.file_type", "general.quantization_version", "general.alignment"}  # the writer sets these


def export_gguf(
    model: Path | Mapping[str, Any], base_gguf: Path | None, out_path: Path, precision: Precision = "Q8_0", name: str | None = None
) -> Path:
    """Write `model` to `out_path`.

    Args:
        model: a folder with safetensors, or named tensors (torch or numpy) as `state_dict` gives them.
        base_gguf: where metadata is taken from; its tensors say which names and shapes there must be. None: the folder says it all.
        name: `general.name` of the new file; None keeps the base's.

    Raises:
        ModelError: tensors are missing, unknown, or of another shape than the base's; or a GGUF file cannot say what the folder is.
        ArtifactError: the file cannot be written.
    """
    if base_gguf is None:
        assert isinstance(model, Path)
        fields, tensors = folder_head(model)
    else:
        fields, tensors = _head_of_base(base_gguf, model)
    weights = _weights(_named(model), tensors, layout.hugging_face_config(fields, tensors))
    return _written(weights, fields, out_path, precision, name)


def _head_of_base(base_gguf: Path, model: Path | Mapping[str, Any]) -> tuple[Mapping[str, GgufField], Mapping[str, GgufTensor]]:
    fields, tensors = read_head(base_gguf)
    if not layout.is_known(fields, tensors):
        raise ModelError(f"'{base_gguf}' is of an architecture that cannot be written as GGUF; possible: {', '.join(layout.ARCHITECTURES)}.")
    if isinstance(model, Path) and (model / "tokenizer.json").is_file():
        return _with_soft_tokens(fields, tensors, load_tokenizer(model))
    return fields, tensors


def check_gguf(base: BaseModel) -> None:
    """Refuse a model of which there is no GGUF file, and none can be made. Raises ModelError."""
    if base.gguf is None:
        folder_head(base.path)


def has_gguf(base: BaseModel) -> bool:
    """Whether there is a GGUF file of the model, or one can be made."""
    try:
        check_gguf(base)
    except ModelError:
        return False
    return True


def served_gguf(base: BaseModel) -> Path:
    """The GGUF file of a model; a folder's is made once, under `NORIA_HOME/models`. Raises ModelError, ArtifactError."""
    if base.gguf is not None:
        return base.gguf
    files = [*sorted(base.path.glob("*.json")), *base.path.glob("*.jinja"), *weight_files(base.path)]
    target = home_dir() / "models" / f"{base.path.name}-{fingerprint(*files)}-Q8_0.gguf"
    return target if target.is_file() else export_gguf(base.path, None, target)


def _with_soft_tokens(
    fields: Mapping[str, GgufField], tensors: Mapping[str, GgufTensor], tokenizer: Tokenizer
) -> tuple[Mapping[str, GgufField], Mapping[str, GgufTensor]]:
    """The head of a file whose vocabulary has the tokenizer's soft tokens too; they are read and never said, so embedding and output differ."""
    ids, strings = soft_ids(tokenizer), tokenizer.token_strings()
    vocabulary = fields["tokenizer.ggml.tokens"].value
    if [strings[token] for token in ids] == [vocabulary[token] for token in ids if token < len(vocabulary)]:  # none, or the base has them
        return fields, tensors
    wider = dict(fields)
    for name, values in (("tokens", strings), ("token_type", [CONTROL] * len(strings)), ("scores", [0.0] * len(strings))):
        if (field := fields.get(f"tokenizer.ggml.{name}")) is not None:
            wide = [*field.value, *values[len(field.value) :]]
            for token in ids:  # behind the vocabulary, or where the base has rows to spare
                wide[token] = values[token]
            wider[f"tokenizer.ggml.{name}"] = replace(field, value=wide)
    size = max(len(vocabulary), len(strings))
    if (template := fields.get("tokenizer.chat_template")) is not None:
        begin = "".join(strings[token] for token in ids)
        wider["tokenizer.chat_template"] = replace(template, value=tokenizer.chat_template or begin + template.value)
    count = f"{fields['general.architecture'].value}.vocab_size"
    if count in fields:
        wider[count] = replace(fields[count], value=size)
    embedding = tensors[layout.EMBEDDING]
    rows = replace(embedding, shape=(size, *embedding.shape[1:]))
    return wider, {**tensors, layout.EMBEDDING: rows, layout.OUTPUT: rows}


def requantize_gguf(gguf: Path, out_path: Path, precision: Precision = "Q8_0") -> Path:
    """Write the same model in another precision. Raises ModelError, ArtifactError."""
    fields, tensors = read_head(gguf)
    return _written(read_tensors(gguf, tensors), fields, out_path, precision)


def exact_gguf(gguf: Path) -> Path:
    """A GGUF file with the same weights that OpenVINO computes with as they are.

    OpenVINO rounds the minimum that Q4_1 and the K quantizations store for each block to a whole step: with SmolLM2-135M in Q4_1 the
    log-probabilities are off by 0.5 on average, and a third of the greedy tokens are others. Such a file is written again as Q8_0
    (off by 0.03), once, under `NORIA_HOME/models`; so is one with matrices in F32 or BF16, which OpenVINO does not read.
    """
    _, tensors = read_head(gguf)
    if {tensor.kind for tensor in tensors.values() if len(tensor.shape) > 1} <= _EXACT_KINDS:
        return gguf
    target = home_dir() / "models" / f"{gguf.stem}-{fingerprint(gguf)}-Q8_0.gguf"
    return target if target.is_file() else requantize_gguf(gguf, target)


def _written(
    weights: Iterable[tuple[str, NDArray[np.float32]]], fields: Mapping[str, GgufField], path: Path, precision: Precision, name: str | None = None
) -> Path:
    making = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(weights, fields, making, precision, name)
        with making.open("rb") as file:
            os.fsync(file.fileno())
        making.replace(path)
    except OSError as error:
        raise ArtifactError(f"'{path}' cannot be written: {error}.") from error
    finally:
        making.unlink(missing_ok=True)
    return path


def _write(
    weights: Iterable[tuple[str, NDArray[np.float32]]], fields: Mapping[str, GgufField], path: Path, precision: Precision, name: str | None
) -> None:
    import gguf

    writer = gguf.GGUFWriter(str(path), fields["general.architecture"].value)
    with contextlib.closing(writer):
        for key, field in fields.items():
            if key not in _SKIPPED:
                value = name if name is not None and key == "general.name" else field.value
                sub_type = gguf.GGUFValueType(field.item_kind) if field.kind == ARRAY and field.item_kind is not None else None
                writer.add_key_value(key, value, gguf.GGUFValueType(field.kind), sub_type)
        writer.add_file_type(_FILE_TYPES[precision])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for tensor_name, weight in weights:
            kind = _kind(weight, precision)
            writer.add_tensor(tensor_name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def _weights(state: Mapping[str, Any], tensors: Mapping[str, GgufTensor], config: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[np.float32]]]:
    ours = {layout.gguf_name(theirs): theirs for theirs in state}
    if config["tie_word_embeddings"]:
        ours.pop(layout.OUTPUT, None)  # the same tensor as the embedding
    missing, unknown = sorted(set(tensors) - set(ours)), sorted(set(ours) - set(tensors))
    if missing or unknown:
        raise ModelError(
            f"The model does not fit its base file: missing {missing[:3]}, not in the base {unknown[:3]}. Name the base it was made from."
        )
    for name, place in tensors.items():
        weight = _numpy(state[ours[name]])
        if weight.shape != place.shape:
            raise ModelError(f"The tensor {ours[name]!r} has shape {weight.shape}, its base {place.shape}. Name the base it was made from.")
        heads = layout.heads_of(ours[name], config)
        yield name, np.ascontiguousarray(weight if heads is None else layout.interleave_heads(weight, heads))


def _kind(weight: NDArray[np.float32], precision: Precision) -> Any:
    import gguf

    if weight.ndim < 2:
        return gguf.GGMLQuantizationType.F32
    return gguf.GGMLQuantizationType["F16" if weight.shape[-1] % _BLOCK else precision]  # OpenVINO reads no matrix in F32


def _named(model: Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(model, Path):
        return model
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise DependencyError("Exporting a model needs torch and safetensors: run `make install` in the clone of Noria.") from error
    return {name: tensor for file in weight_files(model) for name, tensor in load_file(file).items() if not name.endswith(COMPUTED)}


def _numpy(tensor: Any) -> NDArray[np.float32]:
    if isinstance(tensor, np.ndarray):
        return tensor.astype(np.float32, copy=False)
    return tensor.detach().float().cpu().numpy()
