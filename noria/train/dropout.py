"""Dropout (Srivastava et al. 2014): a model's own, drawn faster, or on what goes into the residual stream where its configuration has none.

On a processor torch draws one number after the other, which took a quarter of a step: here a byte is drawn for each value (SFC64), from a seed that
torch draws, and compared with a threshold. The share is therefore a multiple of 1/256, from 1/256 to 255/256; what stays is scaled by that share.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

_INTO_RESIDUAL = re.compile(r"(^|\.)(o_proj|down_proj|c_proj|Wo|output\.dense|\w*Attention\.o|DenseReluDense\.wo)$")
"""Modules whose output a layer adds to the stream, in every architecture of `noria.model.architectures`."""


def use_dropout(model: Any, share: float) -> None:
    """While `model` trains, leave out this share of the embeddings and of what every layer adds; the rest is scaled up to keep the sum."""
    if not share:
        return

    def drop(module: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return dropped(output, draws(output, share), share) if module.training else output

    model.get_input_embeddings().register_forward_hook(drop)
    for name, module in model.named_modules():
        if _INTO_RESIDUAL.search(name):
            module.register_forward_hook(drop)


def draw_faster(model: torch.nn.Module) -> None:
    """Let the dropout layers that a model has draw as here; dropout as an argument of attention stays torch's own."""
    layers: list[Any] = [module for module in model.modules() if type(module) is torch.nn.Dropout]
    for layer in layers:
        layer.forward = _drawing(layer)


def _drawing(layer: torch.nn.Dropout) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return dropped(x, draws(x, layer.p), layer.p) if layer.training else x

    return forward


def draws(like: torch.Tensor, share: float) -> torch.Tensor | None:
    """What stays of `like` (1) and what is left out (0), for `dropped`; None where nothing is, or the device draws fast itself."""
    if not share or like.device.type != "cpu":
        return None
    seed = int(torch.randint(1 << 62, ()))
    drawn = np.random.SFC64(seed).random_raw(-(-like.numel() // 8)).view(np.uint8)[: like.numel()]
    return torch.from_numpy(drawn >= _threshold(share)).view(like.shape).to(torch.bfloat16)


def dropped(x: torch.Tensor, kept: torch.Tensor | None, share: float) -> torch.Tensor:
    """`x` where `kept` is 1, scaled up, and 0 elsewhere."""
    if kept is None:
        return functional.dropout(x, share) if share else x
    return x * kept.to(x.dtype) * (256 / (256 - _threshold(share)))  # in this order bfloat16 rounds each product, and not the factor


def _threshold(share: float) -> int:
    return min(255, max(1, round(share * 256)))
