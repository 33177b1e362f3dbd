"""The seam between a task and the loop: what is learnt of a model's outputs. How rows become inputs is the reader's (`noria.engine.heads`).

A head adds to any encoder or decoder what transformers' own class for the task adds (`AutoModelForSequenceClassification`, ...), so that the tuned
folder loads there.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from noria.engine.heads import Input, Reader
from noria.engine.heads import padded as padded_arrays
from noria.engine.heads.reader import in_parts
from noria.train.objective import Loss

IGNORED = -100
"""Target of a token that nothing is learnt of."""
PART_TOKENS = 512
"""Tokens that are computed at once, padding included, where the texts of a step are compared with one another."""


class Head(Reader, Protocol):
    """A reader that can be taught."""

    def settings(self) -> dict[str, Any]:
        """What the configuration of the model says of the head."""
        ...

    def weight(self, inputs: Sequence[Input], /) -> float:
        """What the summed loss of these inputs is divided by."""
        ...

    def loss(self, model: Any, inputs: Sequence[Input], /) -> Loss: ...


def padded(inputs: Sequence[Input], pad_id: int, device: Any, with_kinds: bool) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and, if the model reads them, `token_type_ids`: (inputs, longest)."""
    return {name: torch.from_numpy(value).to(device) for name, value in padded_arrays(inputs, pad_id, with_kinds).items()}


def of_like_length(inputs: Sequence[Input], compute: Callable[[Sequence[Input]], torch.Tensor], max_tokens: int) -> torch.Tensor:
    """What `compute` finds of inputs, in their order: (inputs, ...). It is given those of like length together, so that little is padding.

    Args:
        max_tokens: of the inputs that are computed at once, padding included.
    """
    order = sorted(range(len(inputs)), key=lambda index: len(inputs[index].token_ids))
    found = torch.cat([compute(part) for part in in_parts([inputs[index] for index in order], max_tokens)])
    return found[torch.tensor(order).argsort()]


def mean_vectors(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The mean of each text's tokens, scaled to length one: hidden (texts, time, width) to (texts, width)."""
    mask = attention_mask[..., None]
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
