"""Layers of the llama family as compiled functions: what is computed element by element takes one pass over memory instead of many.

Around attention, which stays as it is, a layer is two functions: norm, projections and rotation before it; output, residuals and feed-forward
after it. Each is compiled once (`torch.compile`, which needs a C++ compiler and takes half a minute to a minute) and called by every layer, for the
weights are its arguments. Only steps of training run compiled; a model that is validated or generates computes as transformers wrote it.
"""

import shutil
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from noria.train.attention import packed_attention
from noria.train.dropout import draws, dropped

KINDS = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose layers may have this form; what a layer has decides."""


MINUTES_TO_COMPILE = 15
"""Compiling takes half a minute to a minute for each shape that is timed, and gives back a quarter of the time."""


def compiles(wanted: bool | None, minutes: float | None) -> bool:
    """Whether a run is compiled: as set, else where it is long enough for it to pay and there is a compiler."""
    return wanted if wanted is not None else minutes is not None and minutes >= MINUTES_TO_COMPILE and can_compile()


def can_compile() -> bool:
    """Whether there is a compiler for the processor's code, and Python's headers; graphics cards bring their own."""
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return torch.cuda.is_available() or (headers.is_file() and any(shutil.which(name) for name in ("g++", "clang++", "c++")))


def use_compiled_layers(model: Any, dtype: torch.dtype, dropout: float) -> bool:
    """Let the layers of `model` compute compiled while it trains, products in `dtype`; returns whether they have the form.

    Args:
        dropout: share of what attention and feed-forward add that is left out.
    """
    layers = list(getattr(model.base_model, "layers", []))
    if model.config.model_type not in KINDS or not layers or not all(map(_has_the_form, layers)):
        return False
    before, after = _functions(dtype, dropout, layers[0])
    for layer in layers:
        layer.forward = _forward(layer, layer.forward, before, after, dropout)
    return True


def _has_the_form(layer: Any) -> bool:
    try:
        products: list[Any] = [getattr(layer.self_attn, f"{name}_proj") for name in "qkvo"]
        products += [getattr(layer.mlp, f"{name}_proj") for name in ("gate", "up", "down")]
    except AttributeError:
        return False
    plain = all(type(p) is torch.nn.Linear and getattr(p, "bias", None) is None for p in products) and not hasattr(layer.self_attn, "q_norm")
    return plain and type(layer.mlp.act_fn).__name__ in ("SiLU", "SiLUActivation")


def _functions(dtype: torch.dtype, dropout: float, layer: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    dim, epsilon = layer.self_attn.head_dim, layer.input_layernorm.variance_epsilon

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight).to(dtype)

    def heads(rows: torch.Tensor) -> torch.Tensor:
        return rows.unflatten(-1, (-1, dim)).transpose(1, 2)

    def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, -1)
        return (x * cos + torch.cat((-right, left), -1) * sin).to(dtype)

    def before(x: torch.Tensor, weight: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Any:
        normed = norm(x, weight)
        query, key, value = functional.linear(normed, torch.cat((q, k, v)).to(dtype)).split((len(q), len(k), len(v)), -1)
        cos, sin = cos[:, None], sin[:, None]
        return rotated(heads(query), cos, sin), rotated(heads(key), cos, sin), heads(value)

    def after(x: torch.Tensor, seen: torch.Tensor, kept: Sequence[torch.Tensor | None], *weights: torch.Tensor) -> torch.Tensor:
        o, weight, gate, up, down = weights
        x = x + dropped(functional.linear(seen, o.to(dtype)), kept[0], dropout)
        opened, carried = functional.linear(norm(x, weight), torch.cat((gate, up)).to(dtype)).split((len(gate), len(up)), -1)
        return x + dropped(functional.linear(functional.silu(opened) * carried, down.to(dtype)), kept[1], dropout)

    return torch.compile(before, dynamic=False), torch.compile(after, dynamic=False)


def _forward(layer: Any, own: Callable[..., Any], before: Callable[..., Any], after: Callable[..., Any], dropout: float) -> Callable[..., Any]:
    attention, mlp = layer.self_attn, layer.mlp

    def forward(hidden_states: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        if not layer.training:
            return own(hidden_states, *arguments, **named)
        cos, sin = named["position_embeddings"]
        weights = [getattr(attention, f"{name}_proj").weight for name in "qkv"]
        query, key, value = before(hidden_states, layer.input_layernorm.weight, *weights, cos, sin)
        seen, _ = packed_attention(attention, query, key, value, None, scaling=attention.scaling, segments=named.get("segments"))
        weights = [attention.o_proj.weight, layer.post_attention_layernorm.weight, mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight]
        kept = draws(hidden_states, dropout), draws(hidden_states, dropout)
        return after(hidden_states, seen.flatten(2), kept, *weights)

    return forward
