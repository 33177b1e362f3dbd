"""Dropout on what goes into the residual stream (Srivastava et al. 2014; Vaswani et al. 2017), for architectures whose configuration has none."""

import re
from typing import Any

import torch
from torch.nn import functional

_INTO_RESIDUAL = re.compile(r"(^|\.)(o_proj|down_proj|c_proj|Wo|output\.dense|\w*Attention\.o|DenseReluDense\.wo)$")
"""Modules whose output a layer adds to the stream, in every architecture of `noria.model.architectures`."""


def use_dropout(model: Any, share: float) -> None:
    """While `model` trains, leave out this share of the embeddings and of what every layer adds; the rest is scaled up to keep the sum."""
    if not share:
        return

    def drop(module: torch.nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return functional.dropout(output, share, module.training)

    model.get_input_embeddings().register_forward_hook(drop)
    for name, module in model.named_modules():
        if _INTO_RESIDUAL.search(name):
            module.register_forward_hook(drop)
