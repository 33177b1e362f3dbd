"""The output layer and its loss as one function, without keeping the logits: most of a small model's memory is its vocabulary's."""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch

CHUNK_BYTES = 128 << 20
"""Logits that are in memory at once."""


class _SummedLoss(torch.autograd.Function):
    """sum_n -log softmax(h_n W^T)[t_n] for h (n, dim), W (vocabulary, dim), t (n); its gradients are found on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype, compiled: bool) -> torch.Tensor:
        h, w = hidden.to(dtype), weight.to(dtype)
        of_hidden, of_weight = torch.empty_like(h), torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for part in _chunks(h, w):
            loss, shares = (_compiled() if compiled else _in_place)(torch.mm(h[part], w.T), targets[part])
            total += loss
            of_hidden[part] = shares @ w
            of_weight += shares.T @ h[part]
        ctx.save_for_backward(of_hidden, of_weight)
        ctx.kinds = (hidden.dtype, weight.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_hidden, of_weight = ctx.saved_tensors
        hidden_kind, weight_kind = ctx.kinds
        return of_hidden.to(hidden_kind).mul_(gradients[0]), of_weight.to(weight_kind).mul_(gradients[0]), None, None, None


def summed_loss(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, compiled: bool = False) -> torch.Tensor:
    """Negative log-likelihood of the targets under softmax(hidden weight^T), summed, in nats.

    Args:
        hidden: (n, dim). weight: (vocabulary, dim). targets: (n,) token ids.
        compiled: pass over the logits once, in code that torch compiles; worth it in long runs.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    if torch.is_grad_enabled():
        return cast(torch.Tensor, _SummedLoss.apply(hidden, weight, targets, dtype, compiled))
    h, w = hidden.to(dtype), weight.to(dtype)
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    for part in _chunks(h, w):
        logits = torch.mm(h[part], w.T).float()
        total += (logits.logsumexp(dim=1) - logits.gather(1, targets[part, None])[:, 0]).sum()
    return total


def _loss_and_gradient(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The summed loss, and its gradient softmax(logits) - onehot(targets), in the logits' precision."""
    kind, logits = logits.dtype, logits.float()
    normalizer = logits.logsumexp(dim=1)
    loss = (normalizer - logits.gather(1, targets[:, None])[:, 0]).sum()
    shares = (logits - normalizer[:, None]).exp()
    chosen = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    return loss, torch.where(chosen, shares - 1, shares).to(kind)


def _in_place(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same, with less memory and fewer passes where every operation is one of its own."""
    kind, logits = logits.dtype, logits.float()
    normalizer = logits.logsumexp(dim=1)
    loss = (normalizer - logits.gather(1, targets[:, None])[:, 0]).sum()
    shares = logits.sub_(normalizer[:, None]).exp_()
    shares[torch.arange(len(shares)), targets] -= 1
    return loss, shares.to(kind)


@cache
def _compiled() -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    return torch.compile(_loss_and_gradient, dynamic=False)


def _chunks(hidden: torch.Tensor, weight: torch.Tensor) -> list[slice]:
    size = max(16, CHUNK_BYTES // (4 * len(weight)))
    return [slice(start, start + size) for start in range(0, len(hidden), size)]
