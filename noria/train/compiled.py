"""Layers as compiled functions: what is computed element by element takes one pass over memory instead of many.

Around attention a layer is two functions: what computes queries, keys and values, and what makes the layer's output of what attention has seen. Each
is compiled once (`torch.compile`, which needs a C++ compiler) and called by every layer, for the weights are its arguments; matrices may have
adapters beside them (Hu et al. 2021). Where rows are short and all of one length, attention is part of one function with them: its products are
small, and copies between kernels would cost more. Only steps of training run compiled; a model that is validated or generates computes as
transformers wrote it.

What was compiled is kept in `NORIA_HOME/compiled` for later runs.
"""

import json
import math
import os
import shutil
import sysconfig
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import Linear as AdaptedLinear
from torch._dynamo import config as dynamo
from torch._dynamo.decorators import maybe_mark_dynamic
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from noria.config import home_dir
from noria.train.attention import Rows, packed_attention
from noria.train.dropout import draws, dropped
from noria.train.products import ADAPTER, frozen_weight

Weights = Sequence[Any]
Kept = Sequence[torch.Tensor | None]
Product = tuple[Any, Any, Any, Any]
"""A linear layer: its matrix (out, in), its bias, and its adapter's matrices A (rank, in) and B (out, rank); None for what it has not."""

MINUTES_TO_COMPILE = 15
"""Of pre-training: compiling takes half a minute to a minute, and gives back a quarter of the time."""
MINUTES_TO_COMPILE_ONCE = 2
"""Of tuning, where it takes ten seconds for all lengths together, and gives back a sixth of the time."""
SHORT_ROW = 128
"""Tokens of a row up to which attention is compiled with the rest of its layer."""


def compiles(wanted: bool | None, minutes: float | None, least: float = MINUTES_TO_COMPILE) -> bool:
    """Whether a run is compiled: as set, else where it takes at least so many minutes, so that it pays, and there is a compiler."""
    return wanted if wanted is not None else minutes is not None and minutes >= least and can_compile()


def can_compile() -> bool:
    """Whether there is a compiler for the processor's code, and Python's headers; graphics cards bring their own."""
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return torch.cuda.is_available() or (headers.is_file() and any(shutil.which(name) for name in ("g++", "clang++", "c++")))


def use_compiled_layers(model: Any, dtype: torch.dtype, dropout: float = 0.0, of_any_length: bool = False) -> bool:
    """Let the layers of `model` compute compiled while it trains, products in `dtype`; returns whether they have a form that is known.

    Args:
        dropout: share of what attention and feed-forward add that is left out.
        of_any_length: compile once for rows of any length, not anew for each.
    """
    form_of = _FORMS.get(model.config.model_type)
    layers = _layers(model.base_model)
    form = form_of(layers, dtype, dropout) if form_of and layers else None
    if form is None:
        return False
    _keep_compiled()
    compiled = _Compiled(form, dropout, of_any_length)
    for layer in layers:
        layer.forward = compiled.forward(layer, layer.forward)
    return True


def _layers(model: Any) -> list[Any]:
    model = getattr(model, "encoder", model)
    return list(next((getattr(model, name) for name in ("layers", "layer", "h") if hasattr(model, name)), []))


def _keep_compiled() -> None:
    """Keep what is compiled for later runs on such a processor, where the disk lets us; torch's own place is a temporary one."""
    processor = sha256(json.dumps(dict(torch.cpu.get_capabilities()), sort_keys=True).encode()).hexdigest()[:12]
    folder = home_dir() / "compiled" / processor
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    dynamo.suppress_errors = True  # a compiler that fails costs speed, and not the run


@dataclass(frozen=True, kw_only=True)
class _Form:
    """A layer as two functions around its attention.

    `before(x, rotation, weights)` gives query, already scaled, key and value: (1, heads, time, dim); `after(x, seen, kept, weights)` the layer's
    output, from what attention has seen (1, time, heads x dim) and what dropout keeps of the two additions.
    """

    before: Callable[[torch.Tensor, Any, Weights], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    after: Callable[[torch.Tensor, torch.Tensor, Kept, Weights], torch.Tensor]
    weights: Callable[[Any], tuple[Weights, Weights]]
    attention: str


class _Compiled:
    """The functions of a form, compiled at their first use."""

    def __init__(self, form: _Form, dropout: float, of_any_length: bool) -> None:
        self.form, self.dropout, self.of_any_length = form, dropout, of_any_length
        dynamic = None if of_any_length else False
        self.before = torch.compile(form.before, dynamic=dynamic)
        self.after = torch.compile(form.after, dynamic=dynamic)
        self.whole = torch.compile(self._whole, dynamic=False)

    def _whole(self, x: torch.Tensor, rotation: Any, mask: torch.Tensor, kept: Kept, first: Weights, second: Weights) -> torch.Tensor:
        seen = _attended(*self.form.before(x, rotation, first), mask)
        return self.form.after(x, seen, kept, second)

    def forward(self, layer: Any, own: Callable[..., Any]) -> Callable[..., Any]:
        attention = layer.get_submodule(self.form.attention)

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
            if isinstance(segments, Rows) and segments.length <= SHORT_ROW and not self.of_any_length:
                mask = segments.mask if segments.mask is not None else _mask(segments.length, attention.is_causal, hidden_states.device)
                return self.whole(hidden_states, rotation, mask, kept, first, second)
            if self.of_any_length and torch.is_grad_enabled() and not hidden_states.requires_grad:  # of the first layer: not compiled for it alone
                hidden_states = hidden_states.detach().requires_grad_()
            self._any_length(hidden_states, *(rotation or ()))
            query, key, value = self.before(hidden_states, rotation, first)
            seen, _ = packed_attention(attention, query, key, value, None, scaling=1.0, segments=segments)
            seen = seen.flatten(2)
            self._any_length(seen, *(one for one in kept if one is not None))
            return self.after(hidden_states, seen, kept, second)

        return forward

    def _any_length(self, *parts: torch.Tensor) -> None:
        """Tell the compiler that the second dimension, time, is another at every call."""
        if self.of_any_length:
            for part in parts:
                maybe_mark_dynamic(part, 1)


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """softmax(Q K^T + mask) V of rows behind one another: (1, heads, rows x length, dim) to (1, rows x length, heads x dim).

    `mask` is (rows or 1, length, length). Query heads that share a key head stand next to one another.
    """
    length, shared_by = mask.shape[-1], query.shape[1] // key.shape[1]
    queries, keys, values = (part[0].unflatten(1, (-1, length)).transpose(0, 1) for part in (query, key, value))  # (rows, heads, length, dim)
    if shared_by > 1:
        keys, values = keys.repeat_interleave(shared_by, dim=1), values.repeat_interleave(shared_by, dim=1)
    shares = ((queries @ keys.transpose(-1, -2)).float() + mask[:, None]).softmax(dim=-1).to(value.dtype)
    return (shares @ values).transpose(1, 2).flatten(2).flatten(0, 1)[None]


@cache
def _mask(length: int, causal: bool, device: torch.device) -> torch.Tensor:
    return torch.full((1, length, length), float("-inf") if causal else 0.0, device=device).triu(1)


def _heads(rows: torch.Tensor, dim: int) -> torch.Tensor:
    return rows.unflatten(-1, (-1, dim)).transpose(1, 2)


def _llama(layers: Sequence[Any], dtype: torch.dtype, dropout: float) -> _Form | None:
    """Norms by root mean square, rotated queries and keys, gated feed-forward; every matrix with an adapter, or none."""
    scale = _scale_of_adapters(layers)
    if scale is None or not all(map(_is_llama, layers)):
        return None
    dim, epsilon, of_scores = layers[0].self_attn.head_dim, layers[0].input_layernorm.variance_epsilon, layers[0].self_attn.scaling

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight).to(dtype)

    def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, -1)
        return (x * cos + torch.cat((-right, left), -1) * sin).to(dtype)

    def multiplied(x: torch.Tensor, *products: Product) -> Sequence[torch.Tensor]:
        """What linear layers make of one input; without adapters in one product."""
        if products[0][2] is None:
            bias = None if products[0][1] is None else torch.cat([p[1] for p in products]).to(dtype)
            return functional.linear(x, torch.cat([p[0] for p in products]).to(dtype), bias).split([len(p[0]) for p in products], -1)
        inner = functional.linear(x, torch.cat([a for _, _, a, _ in products]).to(dtype)).split([len(a) for _, _, a, _ in products], -1)
        return [
            functional.linear(x, w, None if bias is None else bias.to(dtype)) + functional.linear(part, b.to(dtype)) * scale
            for part, (w, bias, _, b) in zip(inner, products, strict=True)
        ]

    def before(x: torch.Tensor, rotation: Any, weights: Weights) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weight, *products = weights
        query, key, value = (_heads(part, dim) for part in multiplied(norm(x, weight), *products))
        cos, sin = (part[:, None] for part in rotation)
        return rotated(query, cos * of_scores, sin * of_scores), rotated(key, cos, sin), value

    def after(x: torch.Tensor, seen: torch.Tensor, kept: Kept, weights: Weights) -> torch.Tensor:
        o, weight, gate, up, down = weights
        x = x + dropped(multiplied(seen, o)[0], kept[0], dropout)
        opened, carried = multiplied(norm(x, weight), gate, up)
        return x + dropped(multiplied(functional.silu(opened) * carried, down)[0], kept[1], dropout)

    def weights(layer: Any) -> tuple[Weights, Weights]:
        q, k, v, o, gate, up, down = (_product(one, dtype) for one in _linear_layers(layer))
        return [layer.input_layernorm.weight, q, k, v], [o, layer.post_attention_layernorm.weight, gate, up, down]

    return _Form(before=before, after=after, weights=weights, attention="self_attn")


def _linear_layers(layer: Any) -> list[Any]:
    return [*(getattr(layer.self_attn, f"{name}_proj") for name in "qkvo"), *(getattr(layer.mlp, f"{name}_proj") for name in ("gate", "up", "down"))]


def _product(linear: Any, dtype: torch.dtype) -> Product:
    if isinstance(linear, AdaptedLinear):
        base = linear.get_base_layer()
        return frozen_weight(base, dtype), base.bias, linear.lora_A[ADAPTER].weight, linear.lora_B[ADAPTER].weight
    return linear.weight if linear.weight.requires_grad else frozen_weight(linear, dtype), linear.bias, None, None


def _scale_of_adapters(layers: Sequence[Any]) -> float | None:
    """What all adapters are multiplied by, 1 without any; None where only some layers have one, or adapters of another kind."""
    with suppress(AttributeError):
        linear = [one for layer in layers for one in _linear_layers(layer)]
        adapted = [one for one in linear if isinstance(one, AdaptedLinear)]
        if not adapted:
            return 1.0
        scales = {float(one.scaling[ADAPTER]) for one in adapted if not one.use_dora.get(ADAPTER)}
        return scales.pop() if len(adapted) == len(linear) and len(scales) == 1 else None
    return None


def _is_llama(layer: Any) -> bool:
    linear = [one.get_base_layer() if isinstance(one, AdaptedLinear) else one for one in _linear_layers(layer)]
    q, k, v, _, gate, up, _ = (getattr(one, "bias", None) is not None for one in linear)
    alike = all(type(one) is torch.nn.Linear for one in linear) and q == k == v and gate == up
    plain = not hasattr(layer.self_attn, "q_norm") and not layer.self_attn.attention_dropout
    return alike and plain and type(layer.mlp.act_fn).__name__ in ("SiLU", "SiLUActivation")


def _gpt2(layers: Sequence[Any], dtype: torch.dtype, dropout: float) -> _Form | None:
    """Norms with mean and bias, positions learnt outside of the layers, a feed-forward layer with tanh's approximation of GELU, biases everywhere."""
    if not all(map(_is_gpt2, layers)):
        return None
    dim, epsilon, of_scores = layers[0].attn.head_dim, layers[0].ln_1.eps, layers[0].attn.scaling

    def norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], weight, bias, epsilon).to(dtype)

    def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, weight.T.to(dtype), bias.to(dtype))  # GPT-2's matrices are stored as (in, out)

    def gelu(x: torch.Tensor) -> torch.Tensor:
        """tanh's approximation as 1 + tanh(u) = 2 sigmoid(2u): an exponential takes half the time of tanh."""
        wide = x.float()
        return (wide * torch.sigmoid(2 * math.sqrt(2 / math.pi) * wide * (1 + 0.044715 * wide.square()))).to(x.dtype)

    def before(x: torch.Tensor, _rotation: Any, weights: Weights) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weight, bias, *into = weights
        query, key, value = (_heads(part, dim) for part in product(norm(x, weight, bias), *into).chunk(3, -1))
        return query * of_scores, key, value

    def after(x: torch.Tensor, seen: torch.Tensor, kept: Kept, weights: Weights) -> torch.Tensor:
        x = x + dropped(product(seen, weights[0], weights[1]), kept[0], dropout)
        inner = gelu(product(norm(x, weights[2], weights[3]), weights[4], weights[5]))
        return x + dropped(product(inner, weights[6], weights[7]), kept[1], dropout)

    def weights(layer: Any) -> tuple[Weights, Weights]:
        first, second = (layer.ln_1, layer.attn.c_attn), (layer.attn.c_proj, layer.ln_2, layer.mlp.c_fc, layer.mlp.c_proj)
        return [w for m in first for w in (m.weight, m.bias)], [w for m in second for w in (m.weight, m.bias)]

    return _Form(before=before, after=after, weights=weights, attention="attn")


def _is_gpt2(layer: Any) -> bool:
    own = layer.attn.config
    usual = not (own.scale_attn_by_inverse_layer_idx or own.reorder_and_upcast_attn or own.add_cross_attention or own.attn_pdrop or own.resid_pdrop)
    usual = usual and all(type(one) is Conv1D for one in (layer.attn.c_attn, layer.attn.c_proj, layer.mlp.c_fc, layer.mlp.c_proj))
    return usual and type(layer.mlp.act).__name__ in ("NewGELUActivation", "GELUTanh", "PytorchGELUTanh")


def _bert(layers: Sequence[Any], dtype: torch.dtype, dropout: float) -> _Form | None:
    """Norms behind the additions, positions learnt outside of the layers, exact GELU, biases everywhere."""
    if not all(map(_is_bert, layers)):
        return None
    own = layers[0].attention.self
    dim, of_scores, epsilon = own.attention_head_size, own.scaling, layers[0].output.LayerNorm.eps

    def norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], weight, bias, epsilon)

    def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.linear(x.to(dtype), weight.to(dtype), bias.to(dtype))

    def before(x: torch.Tensor, _rotation: Any, weights: Weights) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        together = product(x, torch.cat(list(weights[:3])), torch.cat(list(weights[3:])))
        query, key, value = (_heads(part, dim) for part in together.chunk(3, -1))
        return query * of_scores, key, value

    def after(x: torch.Tensor, seen: torch.Tensor, kept: Kept, weights: Weights) -> torch.Tensor:
        x = norm(x + dropped(product(seen, weights[0], weights[1]), kept[0], dropout), weights[2], weights[3])
        inner = functional.gelu(product(x, weights[4], weights[5]))
        return norm(x + dropped(product(inner, weights[6], weights[7]), kept[1], dropout), weights[8], weights[9])

    def weights(layer: Any) -> tuple[Weights, Weights]:
        own, behind = layer.attention.self, layer.attention.output
        first = (own.query, own.key, own.value)
        second = (behind.dense, behind.LayerNorm, layer.intermediate.dense, layer.output.dense, layer.output.LayerNorm)
        return [m.weight for m in first] + [m.bias for m in first], [w for m in second for w in (m.weight, m.bias)]

    return _Form(before=before, after=after, weights=weights, attention="attention.self")


def _is_bert(layer: Any) -> bool:
    own, behind, inner = layer.attention.self, layer.attention.output, layer.intermediate
    plain = all(type(one) is torch.nn.Linear for one in (own.query, own.key, own.value, behind.dense, inner.dense, layer.output.dense))
    left_out = own.dropout.p or behind.dropout.p or layer.output.dropout.p
    return plain and not left_out and not layer.add_cross_attention and type(inner.intermediate_act_fn).__name__ in ("GELUActivation", "GELU")


_FORMS: dict[str, Callable[[Sequence[Any], torch.dtype, float], _Form | None]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2"), _llama),  # what a layer has decides
    "gpt2": _gpt2,
    "bert": _bert,
}
