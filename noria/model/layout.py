"""How GGUF and Hugging Face name, order and describe the same model.

In: metadata or a configuration. Out: the other one; and the names of the tensors in both. Covers the dense architectures `llama` (also
SmolLM and Mistral), `qwen2` and `qwen3`. What GGUF calls `llama` stores the rows of the query and key projections pairwise: `interleave_heads` and
`split_heads` go there and back.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.errors import ModelError
from noria.model.gguf_file import FLOAT32, STRING, UINT32, GgufField, GgufTensor

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
_NUMBERS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
}
"""Metadata and the configuration's name for it."""
_INNER_BACK = {theirs: ours for ours, theirs in _INNER.items()}
_OUTER_BACK = {theirs: ours for ours, theirs in _OUTER.items()}


def is_known(fields: Mapping[str, GgufField], tensors: Mapping[str, GgufTensor]) -> bool:
    """Whether this module can convert the file: architecture, tensors and position encoding are all of a kind described here."""
    architecture = fields["general.architecture"].value
    scaled = any("rope.scaling" in key for key in fields)
    return architecture in ARCHITECTURES and not scaled and all(_known_tensor(name) for name in tensors)


def _known_tensor(name: str) -> bool:
    try:
        hugging_face_name(name)
    except ModelError:
        return False
    return True


def hugging_face_name(name: str) -> str:
    """The Hugging Face name of a GGUF tensor. Raises ModelError."""
    stem, _, kind = name.rpartition(".")
    parts = stem.split(".")
    if kind in ("weight", "bias"):
        if stem in _OUTER:
            return f"{_OUTER[stem]}.{kind}"
        if len(parts) == 3 and parts[0] == "blk" and parts[2] in _INNER:
            return f"model.layers.{parts[1]}.{_INNER[parts[2]]}.{kind}"
    raise ModelError(f"The GGUF tensor {name!r} has no place in a plain checkpoint of architectures {', '.join(ARCHITECTURES)}.")


def gguf_name(name: str) -> str:
    """The GGUF name of a Hugging Face tensor. Raises ModelError."""
    stem, _, kind = name.rpartition(".")
    if stem in _OUTER_BACK:
        return f"{_OUTER_BACK[stem]}.{kind}"
    parts = stem.split(".", 3)
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in _INNER_BACK:
        return f"blk.{parts[2]}.{_INNER_BACK[parts[3]]}.{kind}"
    raise ModelError(f"The tensor {name!r} cannot be written as GGUF; architectures that can: {', '.join(ARCHITECTURES)}. Merge adapters first.")


def hugging_face_config(fields: Mapping[str, GgufField], tensors: Mapping[str, GgufTensor]) -> dict[str, Any]:
    """The content of config.json."""
    architecture = fields["general.architecture"].value

    def get(key: str, default: Any = None) -> Any:
        field = fields.get(key if key.startswith("tokenizer.") else f"{architecture}.{key}")
        return default if field is None else field.value

    heads, width = get("attention.head_count"), get("embedding_length")
    out = {theirs: get(ours) for ours, theirs in _NUMBERS.items()} | {
        "architectures": [ARCHITECTURES[architecture]],
        "model_type": architecture,
        "dtype": "float32",
        "hidden_act": "silu",
        "num_key_value_heads": get("attention.head_count_kv", heads),
        "rms_norm_eps": get("attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": get("rope.freq_base", 10000.0)},
        "tie_word_embeddings": OUTPUT not in tensors,
        "vocab_size": tensors[EMBEDDING].shape[0],
        "bos_token_id": get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": get("tokenizer.ggml.padding_token_id"),
    }
    dim = get("attention.key_length", width // heads)
    if architecture != "qwen2":
        out |= {"head_dim": dim, "attention_bias": "blk.0.attn_q.bias" in tensors}
    elif dim != width // heads:
        out["head_dim"] = dim
    return out


def fault(config: Mapping[str, Any]) -> str | None:
    """What keeps a model of this config.json from being said as metadata, in words; None: nothing."""
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        return f"it is of the architecture {kind!r}; possible: {', '.join(ARCHITECTURES)}"
    if missing := next((name for name in ("vocab_size", *_NUMBERS.values()) if config.get(name) is None and name != "num_key_value_heads"), None):
        return f"its config.json has no `{missing}`"
    rope = _rope(config)
    if rope.get("rope_type", rope.get("type", "default")) != "default" or config.get("partial_rotary_factor", 1.0) != 1.0:
        return "its positions are not encoded by plain rotation"
    if config.get("use_sliding_window") or "sliding_attention" in (config.get("layer_types") or ()):
        return "it attends within a window"
    return f"its activation is {config['hidden_act']!r}" if config.get("hidden_act", "silu") != "silu" else None


def metadata(config: Mapping[str, Any]) -> dict[str, GgufField]:
    """The inverse of `hugging_face_config`, of a config.json without a `fault`; tokenizer aside."""
    architecture, heads = config["model_type"], config["num_attention_heads"]
    numbers = {ours: config.get(theirs) or heads for ours, theirs in _NUMBERS.items()}
    numbers |= {
        "vocab_size": config["vocab_size"],
        **dict.fromkeys(("rope.dimension_count", "attention.key_length", "attention.value_length"), _head_dim(config)),
    }
    reals = {"attention.layer_norm_rms_epsilon": config.get("rms_norm_eps", 1e-6), "rope.freq_base": _rope(config).get("rope_theta", 10000.0)}
    fields = {"general.architecture": GgufField(kind=STRING, item_kind=None, value=architecture)}
    fields |= {f"{architecture}.{name}": GgufField(kind=UINT32, item_kind=None, value=value) for name, value in numbers.items()}
    return fields | {f"{architecture}.{name}": GgufField(kind=FLOAT32, item_kind=None, value=value) for name, value in reals.items()}


def tensor_shapes(config: Mapping[str, Any], tied: bool) -> dict[str, tuple[int, ...]]:
    """The tensors of a model of this config.json by their GGUF names.

    Args:
        tied: whether the embedding is the output layer too.
    """
    width, hidden, heads, dim = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"], _head_dim(config)
    queries, keys = heads * dim, (config.get("num_key_value_heads") or heads) * dim
    layer = {
        "attn_norm.weight": (width,),
        "attn_q.weight": (queries, width),
        "attn_k.weight": (keys, width),
        "attn_v.weight": (keys, width),
        "attn_output.weight": (width, queries),
        "ffn_norm.weight": (width,),
        "ffn_gate.weight": (hidden, width),
        "ffn_up.weight": (hidden, width),
        "ffn_down.weight": (width, hidden),
    }
    if config["model_type"] == "qwen2":
        layer |= {"attn_q.bias": (queries,), "attn_k.bias": (keys,), "attn_v.bias": (keys,)}
    if config["model_type"] == "qwen3":
        layer |= {"attn_q_norm.weight": (dim,), "attn_k_norm.weight": (dim,)}
    outer = {EMBEDDING: (config["vocab_size"], width), "output_norm.weight": (width,)}
    outer |= {} if tied else {OUTPUT: (config["vocab_size"], width)}
    return outer | {f"blk.{number}.{name}": shape for number in range(config["num_hidden_layers"]) for name, shape in layer.items()}


def _head_dim(config: Mapping[str, Any]) -> int:
    """As transformers takes it where config.json is silent."""
    default = 128 if config["model_type"] == "qwen3" else config["hidden_size"] // config["num_attention_heads"]
    return int(config.get("head_dim") or default)


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """How positions are rotated, in the order in which transformers looks: folders of before its version 5 have it in other places."""
    return {"rope_theta": config.get("rope_theta", 10000.0), **(config.get("rope_scaling") or config.get("rope_parameters") or {})}


def heads_of(name: str, config: Mapping[str, Any]) -> int | None:
    """Number of heads whose rows GGUF interleaves in this (Hugging Face) tensor; None where it does not."""
    if config["model_type"] != "llama":
        return None
    if ".q_proj." in name:
        return int(config["num_attention_heads"])
    return int(config["num_key_value_heads"]) if ".k_proj." in name else None


def interleave_heads(weight: NDArray[Any], num_heads: int) -> NDArray[Any]:
    """Rows of each head from halves (Hugging Face) to pairs (GGUF). weight: (heads * dim, ...)."""
    return weight.reshape(num_heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def split_heads(weight: NDArray[Any], num_heads: int) -> NDArray[Any]:
    """The inverse of `interleave_heads`."""
    return np.ascontiguousarray(weight.reshape(num_heads, -1, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape))
