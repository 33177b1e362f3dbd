"""The seam between the loop and what is learnt: an objective turns a packed batch into a loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from noria.train.batches import Example


@dataclass(frozen=True, kw_only=True)
class Loss:
    """`total` is a sum, not a mean: the loop divides by the weight of the whole step, so that accumulated equals one big batch."""

    total: torch.Tensor
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


class Objective(Protocol):
    """A loss over examples of one kind.

    `prepare` runs at every start, also that of a resumed run. An objective whose loss compares with the untrained model fills
    `Example.reference` there; an example that brings one keeps it, for the model of a resumed run is not the untrained one.
    """

    name: str

    def prepare(self, model: Any, examples: Sequence[Example], /) -> list[Example]: ...

    def loss(self, model: Any, examples: Sequence[Example], /) -> Loss: ...
