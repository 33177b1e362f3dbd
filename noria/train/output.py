"""The output layer and its loss, without keeping the logits: most of a small model's memory is its vocabulary's.

`summed_loss` finds its gradients on the way and takes the output layer to be one matrix, as in what is pre-trained here; `token_logprobs` takes any
decoder, and a loss of any shape on top.
"""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.utils.generic import ModelOutput

from noria.train.attention import Row

CHUNK_BYTES = 128 << 20
"""Logits that are in memory at once, in float32."""


class _SummedLoss(torch.autograd.Function):
    """sum_n -log softmax(h_n W^T)[t_n] for h (n, dim), W (vocabulary, dim), t (n); its gradients are found on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, dtype: torch.dtype, compiled: bool) -> torch.Tensor:
        h, w = hidden.to(dtype), weight.to(dtype)
        of_hidden, of_weight = torch.empty_like(h), torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for part in _chunks(len(h), len(w)):
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
    for part in _chunks(len(h), len(w)):
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


def _chunks(num: int, vocabulary: int) -> list[slice]:
    size = max(16, CHUNK_BYTES // (4 * vocabulary))
    return [slice(start, start + size) for start in range(0, num, size)]


LIVES = 4
"""Tensors as large as the logits that the loss of a part has in memory."""


def token_logprobs(model: Any, row: Row) -> torch.Tensor:
    """Natural-log probability of each of the row's targets, in float32: (predictions,).

    Only positions that predict something go through the output layer, some at a time, whose logits are made again on the way back.

    Args:
        model: a decoder, or its upper layers (`noria.train.frozen`).
    """
    device = model.device
    output = model.base_model(
        input_ids=torch.tensor([row.tokens], device=device),
        position_ids=torch.tensor([row.positions], device=device),
        use_cache=False,
        segments=row.segments,
    )
    before, targets = (torch.tensor(part, device=device) for part in (row.before, row.targets))
    hidden, head = output.last_hidden_state[0][before], _head(getattr(model, "whole", model), output)
    found: list[Any] = []
    for part in _chunks(len(hidden), LIVES * head.config.get_text_config().vocab_size):
        found.append(checkpoint(_logprobs, head, hidden[part], targets[part], use_reentrant=False, preserve_rng_state=False))
    return torch.cat(found)


def _logprobs(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -functional.cross_entropy(head(hidden[None]).logits[0].float(), targets, reduction="none")


class _Given(torch.nn.Module):
    """Stands in for a decoder that has given out this."""

    def __init__(self, output: ModelOutput) -> None:
        super().__init__()
        self.output = output

    @property
    def decoder(self) -> "_Given":
        """Where the decoder stands one step further down (OPT)."""
        return self

    def forward(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> ModelOutput:
        output = copy.copy(self.output)
        output["last_hidden_state"] = input_ids
        return output


def _head(model: Any, output: ModelOutput) -> Any:
    """What a model does with hidden states (1, time, dim) to make logits: its own code, be there a bias, a scale or a cap."""
    return with_parts(model, **{model.base_model_prefix: _Given(output)})


def with_parts(module: torch.nn.Module, **parts: torch.nn.Module) -> Any:
    """A second view of a module that shares its weights and has other parts."""
    view = copy.copy(module)
    view.__dict__["_modules"] = {**module.__dict__["_modules"], **parts}
    return view
