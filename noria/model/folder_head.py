"""The head of a GGUF file for a Hugging Face folder: metadata, tokenizer, and names and shapes of the tensors.

In: a folder with config.json, safetensors and tokenizer.json. Out: fields and tensors as `noria.model.gguf_file.read_head` gives them of a file.
Only what a GGUF file can say is taken: dense models of `noria.model.layout` with a byte-level BPE vocabulary that takes text apart in one of the
ways that llama.cpp has a name for. Everything else is refused, so that no file is written that answers otherwise than its folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from noria.errors import ModelError
from noria.model import layout
from noria.model.gguf_file import ARRAY, BOOL, INT32, STRING, UINT32, GgufField, GgufTensor
from noria.model.tokenizer import CONTROL, PRE_TOKENIZERS, UNUSED, USER_DEFINED, byte_level, load_tokenizer

NORMAL = 1
SPARE = "[PAD{}]"
"""llama.cpp's name for a row of the embedding that is no token's."""
COMPUTED = "rotary_emb.inv_freq"
"""A tensor of folders of long ago, which follows from config.json."""


def folder_head(folder: Path) -> tuple[dict[str, GgufField], dict[str, GgufTensor]]:
    """Fields and tensors of the GGUF file that says what the model in `folder` is. Raises ModelError where there can be none."""
    config, found = _config(folder), _shapes(folder)
    # An output layer that is there counts, whatever config.json says: transformers does not tie what differs.
    expected = layout.tensor_shapes(config, tied=bool(config.get("tie_word_embeddings")) and layout.OUTPUT not in found)
    if strange := sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)):
        raise _impossible(folder, f"in the tensor {strange[0]!r} it differs from a plain {config['model_type']} of its config.json")
    fields = {**layout.metadata(config), "general.name": _text(folder.name), **_vocabulary(folder, config["vocab_size"])}
    return fields, {name: GgufTensor(shape=shape, kind=0, offset=0) for name, shape in found.items()}


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"'{folder / 'config.json'}' cannot be read: {error}.") from error
    if fault := layout.fault(config):
        raise _impossible(folder, fault)
    return config


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors by their GGUF names, from the heads of the files."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="np") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        except (OSError, SafetensorError) as error:
            raise ModelError(f"'{path}' is damaged or cut off ({error}). Fetch it again.") from error
    try:
        return {layout.gguf_name(name): shape for name, shape in shapes.items() if not name.endswith(COMPUTED)}
    except ModelError as error:
        raise _impossible(folder, str(error).rstrip(".")) from error


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads the weights from; adapters and other forms of them may lie beside. Raises ModelError."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        raise _impossible(folder, "it holds no model.safetensors")
    try:
        found = sorted({folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"'{index}' cannot be read: {error}. Fetch it again.") from error
    if missing := next((path for path in found if not path.is_file()), None):
        raise ModelError(f"'{folder}' is incomplete: '{missing.name}' is missing. Fetch it again.")
    return found


def _vocabulary(folder: Path, num_rows: int) -> dict[str, GgufField]:
    """The tokenizer's fields, with a token for every row of the embedding."""
    tokenizer = load_tokenizer(folder)
    settings, tokens = json.loads(tokenizer.to_json()), tokenizer.token_strings()
    if len(tokens) > num_rows:
        raise _impossible(folder, f"it has {num_rows} rows for the {len(tokens)} tokens of its tokenizer")
    tokens += [""] * (num_rows - len(tokens))
    added = {token["id"]: CONTROL if token["special"] else USER_DEFINED for token in settings["added_tokens"]}
    pre = _pre_tokenizer(folder, settings)
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "padding": tokenizer.pad_id}
    found = {
        "model": _text("gpt2"),
        "pre": _text(pre),
        "tokens": GgufField(kind=ARRAY, item_kind=STRING, value=[text or SPARE.format(at) for at, text in enumerate(tokens)]),
        "token_type": GgufField(kind=ARRAY, item_kind=INT32, value=[added.get(at, NORMAL if text else UNUSED) for at, text in enumerate(tokens)]),
        "merges": GgufField(
            kind=ARRAY, item_kind=STRING, value=[one if isinstance(one, str) else " ".join(one) for one in settings["model"]["merges"]]
        ),
        **{f"{role}_token_id": GgufField(kind=UINT32, item_kind=None, value=token) for role, token in ids.items() if token is not None},
        "add_bos_token": GgufField(kind=BOOL, item_kind=None, value=False),  # the chat template says what a conversation begins with
    }
    template = {"tokenizer.chat_template": _text(tokenizer.chat_template)} if tokenizer.chat_template else {}
    return {f"tokenizer.ggml.{name}": field for name, field in found.items()} | template


def _pre_tokenizer(folder: Path, settings: Mapping[str, Any]) -> str:
    """llama.cpp's name for the way in which the tokenizer takes text apart into words."""
    model = settings["model"]
    if model["type"] == "BPE" and model["merges"]:
        for name in PRE_TOKENIZERS:
            if _ways(settings) == _ways(json.loads(byte_level(name, {}, ()).to_str())):
                return name
    raise _impossible(folder, f"its tokenizer ({model['type']}) is not byte-level BPE with merges, and words as of {', '.join(PRE_TOKENIZERS)}")


def _ways(settings: Mapping[str, Any]) -> list[Any]:
    """What decides which tokens a vocabulary makes of a text."""
    model = settings["model"]
    of_model = [model.get(name) or None for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")]
    knows_all = set(pre_tokenizers.ByteLevel.alphabet()) <= model["vocab"].keys()
    return [*of_model, None if knows_all else model.get("unk_token"), settings["normalizer"], _without_offsets(settings["pre_tokenizer"])]


def _without_offsets(part: Any) -> Any:
    """A part of tokenizer.json without what changes only the places that tokens are said to stand at."""
    if isinstance(part, dict):
        return {name: _without_offsets(value) for name, value in part.items() if name != "trim_offsets"}
    return [_without_offsets(one) for one in part] if isinstance(part, list) else part


def _text(value: str) -> GgufField:
    return GgufField(kind=STRING, item_kind=None, value=value)


def _impossible(folder: Path, why: str) -> ModelError:
    remedy = "Set `[engine] kind` to 'transformers', or name another model."
    return ModelError(f"The model in '{folder}' cannot be written as GGUF, which the openvino engine reads: {why}. {remedy}")
