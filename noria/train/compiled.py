"""Layers as compiled functions: what is computed element by element takes one pass over memory instead of many.

Around attention a layer is two functions: norm, projections and rotation before it; output, residuals and feed-forward after it. Each is compiled
once (`torch.compile`, which needs a C++ compiler and takes half a minute to a minute) and called by every layer, for the weights are its arguments.
Where rows are short, attention is part of one function with them: its products are small, and copies between kernels would cost more. Only steps
of training run compiled; a model that is validated or generates computes as transformers wrote it.
"""

import shutil
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from noria.train.attention import Rows, packed_attention
from noria.train.dropout import draws, dropped

Weights = Sequence[torch.Tensor]
Kept = Sequence[torch.Tensor | None]

MINUTES_TO_COMPILE = 15
"""Compiling takes half a minute to a minute for each shape that is timed, and gives back a quarter of the time."""
SHORT_ROW = 128
"""Tokens of a row up to which attention is compiled with the rest of its layer."""


def compiles(wanted: bool | None, minutes: float | None) -> bool:
    """Whether a run is compiled: as set, else where it is long enough for it to pay and there is a compiler."""
    return wanted if wanted is not None else minutes is not None and minutes >= MINUTES_TO_COMPILE and can_compile()


def can_compile() -> bool:
    """Whether there is a compiler for the processor's code, and Python's headers; graphics cards bring their own."""
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return torch.cuda.is_available() or (headers.is_file() and any(shutil.which(name) for name in ("g++", "clang++", "c++")))


def use_compiled_layers(model: Any, dtype: torch.dtype, dropout: float) -> bool:
    """Let the layers of `model` compute compiled while it trains, products in `dtype`; returns whether they have a form that is known.

    Args:
        dropout: share of what attention and feed-forward add that is left out.
    """
    form_of = _FORMS.get(model.config.model_type)
    layers = list(getattr(model.base_model, "layers", getattr(model.base_model, "h", [])))
    form = form_of(layers, dtype, dropout) if form_of and layers else None
    if form is None:
        return False
    compiled = _Compiled(form, dropout)
    for layer in layers:
        layer.forward = compiled.forward(layer, layer.forward)
    return True


@dataclass(frozen=True, kw_only=True)
class _Form:
    """A layer as two functions around its attention.

    `before(x, rotation, weights)` gives query, key and value: (1, heads, time, dim); `after(x, seen, kept, weights)` the layer's output, from what
    attention has seen (1, time, heads x dim) and what dropout keeps of the two additions.
    """

    before: Callable[[torch.Tensor, Any, Weights], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    after: Callable[[torch.Tensor, torch.Tensor, Kept, Weights], torch.Tensor]
    weights: Callable[[Any], tuple[Weights, Weights]]
    attention: str
    scale: float


class _Compiled:
    """The functions of a form, compiled at their first use."""

    def __init__(self, form: _Form, dropout: float) -> None:
        self.form, self.dropout = form, dropout
        self.before = torch.compile(form.before, dynamic=False)
        self.after = torch.compile(form.after, dynamic=False)
        self.whole = torch.compile(self._whole, dynamic=False)

    def _whole(self, x: torch.Tensor, rotation: Any, mask: torch.Tensor, kept: Kept, first: Weights, second: Weights) -> torch.Tensor:
        seen = _attended(*self.form.before(x, rotation, first), mask, self.form.scale)
        return self.form.after(x, seen, kept, second)

    def forward(self, layer: Any, own: Callable[..., Any]) -> Callable[..., Any]:
        attention = getattr(layer, self.form.attention)

        def forward(hidden_states: torch.Tensor, *arguments: Any, **named: Any) -> Any:
            if not layer.training:
                return own(hidden_states, *arguments, **named)
            if getattr(layer, "gradient_checkpointing", False):  # which transformers heeds in the class's forward pass alone
                return checkpoint(computed, hidden_states, use_reentrant=False, **named)
            return computed(hidden_states, **named)

        def computed(hidden_states: torch.Tensor, **named: Any) -> torch.Tensor:
            first, second = self.form.weights(layer)
            rotation, segments = named.get("position_embeddings"), named.get("segments")
            kept = draws(hidden_states, self.dropout), draws(hidden_states, self.dropout)
            if isinstance(segments, Rows) and segments.length <= SHORT_ROW:
                mask = segments.mask if segments.mask is not None else _causal(segments.length, hidden_states.device)
                return self.whole(hidden_states, rotation, mask, kept, first, second)
            query, key, value = self.before(hidden_states, rotation, first)
            seen, _ = packed_attention(attention, query, key, value, None, scaling=self.form.scale, segments=segments)
            return self.after(hidden_states, seen.flatten(2), kept, second)

        return forward


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """softmax(Q K^T scale + mask) V of rows behind one another: (1, heads, rows x length, dim) to (1, rows x length, heads x dim).

    `mask` is (rows or 1, length, length). Query heads that share a key head stand next to one another.
    """
    length, shared_by = mask.shape[-1], query.shape[1] // key.shape[1]
    queries, keys, values = (part[0].unflatten(1, (-1, length)).transpose(0, 1) for part in (query, key, value))  # (rows, heads, length, dim)
    if shared_by > 1:
        keys, values = keys.repeat_interleave(shared_by, dim=1), values.repeat_interleave(shared_by, dim=1)
    shares = ((queries @ keys.transpose(-1, -2)).float() * scale + mask[:, None]).softmax(dim=-1).to(value.dtype)
    return (shares @ values).transpose(1, 2).flatten(2).flatten(0, 1)[None]


@cache
def _causal(length: int, device: torch.device) -> torch.Tensor:
    return torch.full((1, length, length), float("-inf"), device=device).triu(1)


def _heads(rows: torch.Tensor, dim: int) -> torch.Tensor:
    return rows.unflatten(-1, (-1, dim)).transpose(1, 2)


def _llama(layers: Sequence[Any], dtype: torch.dtype, dropout: float) -> _Form | None:
    """Norms by root mean square, rotated queries and keys, gated feed-forward, no biases."""
    if not all(map(_is_llama, layers)):
        return None
    dim, epsilon = layers[0].self_attn.head_dim, layers[0].input_layernorm.variance_epsilon

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight).to(dtype)

    def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, -1)
        return (x * cos + torch.cat((-right, left), -1) * sin).to(dtype)

    def before(x: torch.Tensor, rotation: Any, weights: Weights) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weight, q, k, v = weights
        query, key, value = functional.linear(norm(x, weight), torch.cat((q, k, v)).to(dtype)).split((len(q), len(k), len(v)), -1)
        cos, sin = (part[:, None] for part in rotation)
        return rotated(_heads(query, dim), cos, sin), rotated(_heads(key, dim), cos, sin), _heads(value, dim)

    def after(x: torch.Tensor, seen: torch.Tensor, kept: Kept, weights: Weights) -> torch.Tensor:
        o, weight, gate, up, down = weights
        x = x + dropped(functional.linear(seen, o.to(dtype)), kept[0], dropout)
        opened, carried = functional.linear(norm(x, weight), torch.cat((gate, up)).to(dtype)).split((len(gate), len(up)), -1)
        return x + dropped(functional.linear(functional.silu(opened) * carried, down.to(dtype)), kept[1], dropout)

    def weights(layer: Any) -> tuple[Weights, Weights]:
        attention, mlp = layer.self_attn, layer.mlp
        first = [layer.input_layernorm.weight, *(getattr(attention, f"{name}_proj").weight for name in "qkv")]
        second = [attention.o_proj.weight, layer.post_attention_layernorm.weight, mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight]
        return first, second

    return _Form(before=before, after=after, weights=weights, attention="self_attn", scale=layers[0].self_attn.scaling)


def _is_llama(layer: Any) -> bool:
    try:
        products: list[Any] = [getattr(layer.self_attn, f"{name}_proj") for name in "qkvo"]
        products += [getattr(layer.mlp, f"{name}_proj") for name in ("gate", "up", "down")]
    except AttributeError:
        return False
    plain = all(type(p) is torch.nn.Linear and getattr(p, "bias", None) is None for p in products) and not hasattr(layer.self_attn, "q_norm")
    return plain and type(layer.mlp.act_fn).__name__ in ("SiLU", "SiLUActivation")


def _gpt2(layers: Sequence[Any], dtype: torch.dtype, dropout: float) -> _Form | None:
    """Norms with mean and bias, positions learnt outside of the layers, a feed-forward layer with tanh's approximation of GELU, biases everywhere."""
    if not all(map(_is_gpt2, layers)):
        return None
    dim, epsilon = layers[0].attn.head_dim, layers[0].ln_1.eps

    def norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], weight, bias, epsilon).to(dtype)

    def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weight.T.to(dtype), bias.to(dtype))  # GPT-2's matrices are stored as (in, out)

    def before(x: torch.Tensor, _rotation: Any, weights: Weights) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weight, bias, *into = weights
        query, key, value = (_heads(part, dim) for part in product(norm(x, weight, bias), *into).chunk(3, -1))
        return query, key, value

    def after(x: torch.Tensor, seen: torch.Tensor, kept: Kept, weights: Weights) -> torch.Tensor:
        x = x + dropped(product(seen, weights[0], weights[1]), kept[0], dropout)
        inner = functional.gelu(product(norm(x, weights[2], weights[3]), weights[4], weights[5]), approximate="tanh")
        return x + dropped(product(inner, weights[6], weights[7]), kept[1], dropout)

    def weights(layer: Any) -> tuple[Weights, Weights]:
        first, second = (layer.ln_1, layer.attn.c_attn), (layer.attn.c_proj, layer.ln_2, layer.mlp.c_fc, layer.mlp.c_proj)
        return [w for m in first for w in (m.weight, m.bias)], [w for m in second for w in (m.weight, m.bias)]

    return _Form(before=before, after=after, weights=weights, attention="attn", scale=layers[0].attn.scaling)


def _is_gpt2(layer: Any) -> bool:
    own = layer.attn.config
    usual = not (own.scale_attn_by_inverse_layer_idx or own.reorder_and_upcast_attn or own.add_cross_attention or own.attn_pdrop or own.resid_pdrop)
    return usual and type(layer.mlp.act).__name__ in ("NewGELUActivation", "GELUTanh", "PytorchGELUTanh")


_FORMS: dict[str, Callable[[Sequence[Any], torch.dtype, float], _Form | None]] = {
    **dict.fromkeys(("llama", "mistral"), _llama),  # what a layer has decides
    "gpt2": _gpt2,
}
