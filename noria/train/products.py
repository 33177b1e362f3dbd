"""The matrix products and norms of a training run, with little computed or kept twice.

In: a model ready to learn. Out: the same model, whose frozen weights are rounded once to the precision of the products instead of at every use,
whose adapters add to a layer's output where it stands, and whose norms take few passes over memory; what costs little is made again on the way back
instead of kept. Values and gradients of an adapted layer are those of `x W^T + s (x A^T) B^T` (Hu et al. 2021).
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as AdaptedLinear
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from noria.train.attention import packed_attention

ADAPTER = "default"
_ROUNDED = "rounded_weight"


class _LowRank(torch.autograd.Function):
    """x W^T + scale (x A^T) B^T for frozen W: x (..., in), W (out, in), A (rank, in), B (out, rank)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
        flat, a, b = x.reshape(-1, x.shape[-1]).to(weight.dtype), a.to(weight.dtype), b.to(weight.dtype)
        inner = flat @ a.T
        out = flat @ weight.T
        out.addmm_(inner, b.T, alpha=scale)
        ctx.save_for_backward(flat, weight, a, b, inner)
        ctx.scale = scale
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, weight, a, b, inner = ctx.saved_tensors
        shape = gradients[0].shape
        out = gradients[0].reshape(-1, shape[-1]).to(weight.dtype)
        out_b = (out @ b).mul_(ctx.scale)
        into: torch.Tensor | None = None
        if ctx.needs_input_grad[0]:
            into = (out @ weight).addmm_(out_b, a).view(*shape[:-1], -1)
        return into, None, (out_b.T @ flat).float(), (out.T @ inner).mul_(ctx.scale).float(), None


class _Norm(torch.autograd.Function):
    """x / rms(x) * weight over the last dimension (Zhang and Sennrich 2019), in float32, given out in the precision of the products."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype) -> torch.Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        return (x * inverse).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        out, normed = gradients[0].float(), x * inverse
        shared = out * normed
        of_weight = shared.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        along = (shared @ weight)[..., None].div_(x.shape[-1])
        return (out * weight).addcmul_(normed, along, value=-1).mul_(inverse), of_weight, None, None


class _Rotated(torch.autograd.Function):
    """scale R x for the rotation R of positions (Su et al. 2021): x (1, time, heads, dim) to (1, heads, time, dim), computed in float32.

    `cos` and `sin` are (1, time, dim); the halves of a head are turned against one another.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, scale: float, dtype: torch.dtype) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)  # the same of every layer, which what is made of them is not
        ctx.kind, ctx.scale = x.dtype, scale
        cos, sin = _scaled(cos, sin, scale)
        left, right = sin.chunk(2, -1)
        return _turned(x.transpose(1, 2), cos, left.neg(), right).to(dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        cos, sin = _scaled(cos, sin, ctx.scale)
        left, right = sin.chunk(2, -1)
        into = _turned(gradients[0], cos, right, left.neg()).transpose(1, 2)
        return into.to(ctx.kind, memory_format=torch.contiguous_format), None, None, None, None


def _scaled(cos: torch.Tensor, sin: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    return cos[:, None].float() * scale, sin[:, None].float() * scale


def _turned(x: torch.Tensor, cos: torch.Tensor, into_left: torch.Tensor, into_right: torch.Tensor) -> torch.Tensor:
    """x cos, plus to each half of the last dimension the other half times what is given."""
    x = x.to(torch.float32, memory_format=torch.contiguous_format)
    half = x.shape[-1] // 2
    turned = x * cos
    turned[..., :half].addcmul_(x[..., half:], into_left)
    turned[..., half:].addcmul_(x[..., :half], into_right)
    return turned


class _Gated(torch.autograd.Function):
    """silu(gate) up (Shazeer 2020), which keeps nothing between the two."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        out = gradients[0]
        return torch.ops.aten.silu_backward(out * up, gate), functional.silu(gate).mul_(out)


def use_lean_products(model: torch.nn.Module, dtype: torch.dtype, recomputed: bool = False) -> None:
    """Let every linear layer with frozen weights compute in `dtype`, its adapter included, and norms in few passes over memory.

    Linear layers that learn are left as they are.

    Args:
        recomputed: whether whole layers are computed again on the way back (`checkpoint_activations`).
    """
    adapted: list[Any] = [m for m in model.modules() if isinstance(m, AdaptedLinear)]
    linear: list[Any] = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    inner = {id(part) for layer in adapted for part in layer.modules()}
    for layer in adapted:
        if layer.get_base_layer().bias is None and not layer.use_dora.get(ADAPTER):
            layer.forward = _adapted_forward(layer, dtype)
    for layer in linear:
        if id(layer) not in inner and not layer.weight.requires_grad:
            layer.forward = _frozen_forward(layer, dtype)
    for module in model.modules():
        if type(module).__name__ in _ROTATING:
            module.forward = _attention_forward(module, dtype)
        if type(module).__name__ in _GATED and type(module.act_fn).__name__ in ("SiLU", "SiLUActivation"):
            module.forward = _gated_forward(module, recomputed)
    norms: list[Any] = [m for m in model.modules() if type(m).__name__.endswith("RMSNorm") and hasattr(m, "variance_epsilon")]
    for norm in norms:
        norm.forward = _norm_forward(norm, dtype)


_ROTATING = ("LlamaAttention", "MistralAttention", "Qwen2Attention")
"""Layers that rotate queries and keys as they come out of their projections. Where they are given a mask they compute as they came."""


_GATED = ("LlamaMLP", "MistralMLP", "Qwen2MLP")
"""Feed-forward layers with a gate."""


def _gated_forward(layer: Any, recomputed: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        gate, up = layer.gate_proj(x), layer.up_proj(x)
        product = cast(torch.Tensor, _Gated.apply(gate, up))
        if recomputed:  # nothing of the layer is kept then, but what a context of ours would hold
            return layer.down_proj(product)
        with _made_again(product, lambda: functional.silu(gate.detach()).mul_(up.detach())):
            return layer.down_proj(product)

    return forward


def _made_again(tensor: torch.Tensor, make: Callable[[], torch.Tensor]) -> saved_tensors_hooks:
    """A context in which what would be kept of a tensor for the way back is made again there."""
    place, size = tensor.data_ptr(), tensor.numel()

    def pack(kept: torch.Tensor) -> torch.Tensor | torch.Size:
        return kept.shape if kept.data_ptr() == place and kept.numel() == size else kept

    def unpack(kept: torch.Tensor | torch.Size) -> torch.Tensor:
        return kept if isinstance(kept, torch.Tensor) else make().view(kept)

    return saved_tensors_hooks(pack, unpack)


def _attention_forward(attention: Any, dtype: torch.dtype) -> Callable[..., Any]:
    own = attention.forward

    def forward(hidden_states: torch.Tensor, position_embeddings: Any = None, attention_mask: Any = None, **named: Any) -> Any:
        if not attention.training or attention_mask is not None:
            return own(hidden_states, position_embeddings, attention_mask, **named)
        heads = (*hidden_states.shape[:-1], -1, attention.head_dim)
        query = _Rotated.apply(attention.q_proj(hidden_states).view(heads), *position_embeddings, attention.scaling, dtype)
        key = _Rotated.apply(attention.k_proj(hidden_states).view(heads), *position_embeddings, 1.0, dtype)
        value = attention.v_proj(hidden_states).view(heads).transpose(1, 2)
        dropout, segments = attention.attention_dropout, named.get("segments")
        seen, _ = packed_attention(attention, query, key, value, None, scaling=1.0, dropout=dropout, segments=segments)
        return attention.o_proj(seen.flatten(2)), None

    return forward


def _adapted_forward(layer: Any, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = frozen_weight(layer.get_base_layer(), dtype)
    a, b = (cast(torch.nn.Linear, adapters[ADAPTER]) for adapters in (layer.lora_A, layer.lora_B))
    scale = float(layer.scaling[ADAPTER])

    def forward(x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, _LowRank.apply(x, weight, a.weight, b.weight, scale))

    return forward


def _frozen_forward(layer: Any, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = frozen_weight(layer, dtype)
    bias = None if layer.bias is None else layer.bias.detach().to(dtype)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x.to(dtype), weight, bias)

    return forward


def frozen_weight(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    """A frozen layer's matrix in the precision of the products, rounded once for all who ask."""
    kept = layer.__dict__.get(_ROUNDED)
    if kept is None or kept.dtype != dtype:
        kept = layer.__dict__[_ROUNDED] = layer.weight.detach().to(dtype)
    return kept


def _norm_forward(norm: Any, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, _Norm.apply(x, norm.weight, norm.variance_epsilon, dtype))

    return forward


def use_own_products(model: torch.nn.Module) -> None:
    """Give a tuned model back the forward passes that it came with."""
    for module in model.modules():
        for name in ("forward", _ROUNDED):
            module.__dict__.pop(name, None)
