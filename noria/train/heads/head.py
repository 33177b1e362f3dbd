"""The seam between a task and the loop: how rows become inputs, what is learnt of a model's outputs, and how outputs become predictions.

A head adds to any encoder or decoder what transformers' own class for the task adds (`AutoModelForSequenceClassification`, ...), so that the tuned
folder loads there. Inputs of like length are computed together and padded to the longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from noria.data import Example
from noria.model import Tokenizer
from noria.train.heads.text_input import Wrap
from noria.train.objective import Loss
from noria.train.precision import Precision

IGNORED = -100
"""Target of a token that nothing is learnt of."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """What goes through the model as one sequence: a row of the file, or a window of a row longer than the model reads."""

    row: int
    token_ids: tuple[int, ...]
    kinds: tuple[int, ...] = ()
    """0 in the first text, 1 in the second; empty where there is one."""
    target: Any = None
    """What is learnt of it, as its head wants it; None where nothing is known."""
    places: tuple[Any, ...] = ()
    """Where each token comes from (the index of its word, or its begin and end in the text); None of special tokens."""
    whole: tuple[bool, bool] = (True, True)
    """Whether the row begins and ends here; a window may do neither."""
    num_cut: int = 0
    """Tokens of the row that no input of it reads."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says of a row: what `noria predict` writes, and, for metrics, its probabilities."""

    output: dict[str, Any]
    scores: tuple[float, ...] = field(default=(), repr=False)
    """Of each label, where there are labels."""


class Head(Protocol):
    """A task: rows in, predictions out."""

    task: str
    auto_class: str
    """Name of transformers' class with the layer that the task needs."""
    tokenizer: Tokenizer
    wrap: Wrap
    with_kinds: bool
    """Whether the model reads which text of a pair a token stands in."""
    precision: Precision | None
    """Of matrix products; thresholds hold for the one they were found in. None: what the device is fast in."""

    def settings(self) -> dict[str, Any]:
        """What the configuration of the model says of the head."""
        ...

    def inputs(self, rows: Sequence[Example], /) -> list[Input]:
        """At least one of each row, in their order."""
        ...

    def weight(self, inputs: Sequence[Input], /) -> float:
        """What the summed loss of these inputs is divided by; 0 where nothing can be learnt of them."""
        ...

    def loss(self, model: Any, inputs: Sequence[Input], /) -> Loss: ...

    def outputs(self, model: Any, inputs: Sequence[Input], /) -> list[Any]:
        """What the model says of each input."""
        ...

    def predictions(self, rows: Sequence[Example], inputs: Sequence[Input], outputs: Sequence[Any], /) -> list[Prediction]:
        """One of each row."""
        ...


def padded(inputs: Sequence[Input], pad_id: int, device: Any, with_kinds: bool) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and, if the model reads them, `token_type_ids`: (inputs, longest)."""
    longest = max(len(one.token_ids) for one in inputs)
    ids = torch.full((len(inputs), longest), pad_id, dtype=torch.long)
    mask, kinds = torch.zeros_like(ids), torch.zeros_like(ids)
    for place, one in enumerate(inputs):
        ids[place, : len(one.token_ids)] = torch.tensor(one.token_ids)
        mask[place, : len(one.token_ids)] = 1
        kinds[place, : len(one.kinds)] = torch.tensor(one.kinds, dtype=torch.long)
    batch = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    return batch | ({"token_type_ids": kinds.to(device)} if with_kinds else {})
