"""The matrix products and norms of a training run, with nothing computed twice.

In: a model ready to learn. Out: the same model, whose frozen weights are rounded once to the precision of the products instead of at every use,
whose adapters add to a layer's output where it stands, and whose norms take few passes over memory. Values and gradients of an adapted layer are
those of `x W^T + s (x A^T) B^T` (Hu et al. 2021).
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from peft.tuners.lora import Linear as AdaptedLinear
from torch.nn import functional

ADAPTER = "default"


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
        out = gradients[0].float()
        of_weight = (out * x).mul_(inverse).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        scaled = out * weight
        along = (scaled * x).sum(-1, keepdim=True).mul_(inverse**3 / x.shape[-1])
        return scaled.mul_(inverse).sub_(x * along), of_weight, None, None


def use_lean_products(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Let every linear layer with frozen weights compute in `dtype`, its adapter included, and norms in few passes over memory.

    Linear layers that learn are left as they are.
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
    norms: list[Any] = [m for m in model.modules() if type(m).__name__.endswith("RMSNorm") and hasattr(m, "variance_epsilon")]
    for norm in norms:
        norm.forward = _norm_forward(norm, dtype)


def _adapted_forward(layer: Any, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = layer.get_base_layer().weight.detach().to(dtype)
    a, b = (cast(torch.nn.Linear, adapters[ADAPTER]) for adapters in (layer.lora_A, layer.lora_B))
    scale = float(layer.scaling[ADAPTER])

    def forward(x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, _LowRank.apply(x, weight, a.weight, b.weight, scale))

    return forward


def _frozen_forward(layer: Any, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    weight = layer.weight.detach().to(dtype)
    bias = None if layer.bias is None else layer.bias.detach().to(dtype)

    def forward(x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x.to(dtype), weight, bias)

    return forward


def _norm_forward(norm: Any, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, _Norm.apply(x, norm.weight, norm.variance_epsilon, dtype))

    return forward


def use_own_products(model: torch.nn.Module) -> None:
    """Give a tuned model back the forward passes that it came with."""
    for module in model.modules():
        module.__dict__.pop("forward", None)
