"""How GGUF and Hugging Face name, order and describe the same model.

In: metadata or a configuration. Out: the other one; and the names of the tensors in both. Covers the dense architectures `llama` (also
SmolLM and Mistral) and `qwen2`. What GGUF calls `llama` stores the rows of the query and key projections pairwise: `interleave_heads` and
`split_heads` go there and back.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.errors import ModelError
from noria.model.gguf_file import GgufField, GgufTensor

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
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
}
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
    out = {
        "architectures": [ARCHITECTURES[architecture]],
        "model_type": architecture,
        "dtype": "float32",
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": get("feed_forward_length"),
        "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv", heads),
        "max_position_embeddings": get("context_length"),
        "rms_norm_eps": get("attention.layer_norm_rms_epsilon"),
        "rope_parameters": {"rope_type": "default", "rope_theta": get("rope.freq_base", 10000.0)},
        "tie_word_embeddings": OUTPUT not in tensors,
        "vocab_size": tensors[EMBEDDING].shape[0],
        "bos_token_id": get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": get("tokenizer.ggml.padding_token_id"),
    }
    if architecture == "llama":
        out |= {"head_dim": get("attention.key_length", width // heads), "attention_bias": "blk.0.attn_q.bias" in tensors}
    return out


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
