"""The seam between a task and a model that is asked: how rows become inputs, and how what the model gives becomes predictions.

Inputs of like length are computed together and padded to the longest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from noria.data import Example
from noria.data.examples import HeadTask
from noria.engine.heads.text_input import Wrap
from noria.model import Tokenizer
from noria.model.precision import Precision

MAX_TOKENS = 8192
"""Of the inputs that go through the model at once."""
Floats: TypeAlias = NDArray[np.float32]
Batch: TypeAlias = Mapping[str, NDArray[np.int64]]
Runner = Callable[[Batch], Mapping[str, Floats]]
"""A model: `input_ids`, `attention_mask` and `token_type_ids` in, `logits` (or `start_logits` and `end_logits`, or `last_hidden_state`) out."""


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
    """Whether the row begins and ends here."""
    num_cut: int = 0
    """Tokens of the row that no input reads."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says of a row: what `noria predict` writes, and, for metrics, its probabilities."""

    output: dict[str, Any]
    scores: tuple[float, ...] = field(default=(), repr=False)
    """Of each label, where there are labels."""


class Reader(Protocol):
    """A task: rows in, predictions out."""

    task: HeadTask
    auto_class: str
    """Name of transformers' class with the layer that the task needs."""
    tokenizer: Tokenizer
    wrap: Wrap
    with_kinds: bool
    """Whether the model reads which text of a pair a token stands in."""
    precision: Precision | None
    """Of the matrix products; None: what the machine is fast in."""

    @property
    def cut_field(self) -> tuple[str, int]:
        """What of a row may be cut, and the tokens that are read of it."""
        ...

    def inputs(self, rows: Sequence[Example], /) -> list[Input]:
        """At least one of each row, in their order."""
        ...

    def outputs(self, inputs: Sequence[Input], found: Mapping[str, Floats], /) -> list[Floats]:
        """What the model says of each input, from what it gives for the batch."""
        ...

    def predictions(self, rows: Sequence[Example], inputs: Sequence[Input], outputs: Sequence[Floats], /) -> list[Prediction]:
        """One of each row."""
        ...


def padded(inputs: Sequence[Input], pad_id: int, with_kinds: bool) -> dict[str, NDArray[np.int64]]:
    """`input_ids`, `attention_mask` and, if the model reads them, `token_type_ids`: (inputs, longest)."""
    longest = max(len(one.token_ids) for one in inputs)
    ids = np.full((len(inputs), longest), pad_id, dtype=np.int64)
    mask, kinds = np.zeros_like(ids), np.zeros_like(ids)
    for place, one in enumerate(inputs):
        ids[place, : len(one.token_ids)] = one.token_ids
        mask[place, : len(one.token_ids)] = 1
        kinds[place, : len(one.kinds)] = one.kinds
    batch = {"input_ids": ids, "attention_mask": mask}
    return batch | ({"token_type_ids": kinds} if with_kinds else {})


def in_parts(inputs: Sequence[Input], max_tokens: int) -> Iterator[list[Input]]:
    """Parts of inputs in their order, each of at most `max_tokens` with its padding (or of one input)."""
    part: list[Input] = []
    longest = 0
    for one in inputs:
        wider = max(longest, len(one.token_ids))
        if part and wider * (len(part) + 1) > max_tokens:
            yield part
            part, wider = [], len(one.token_ids)
        part.append(one)
        longest = wider
    if part:
        yield part


def outputs_of(reader: Reader, runner: Runner, inputs: Sequence[Input], max_tokens: int = MAX_TOKENS) -> list[Floats]:
    """What the model says of each input, in their order."""
    order = sorted(range(len(inputs)), key=lambda index: len(inputs[index].token_ids))
    found: list[Any] = [None] * len(inputs)
    at = 0
    for part in in_parts([inputs[index] for index in order], max_tokens):
        batch = padded(part, reader.tokenizer.pad_id, reader.with_kinds)
        for output in reader.outputs(part, runner(batch)):
            found[order[at]] = output
            at += 1
    return found


def cut_of(reader: Reader, inputs: Sequence[Input]) -> str | None:
    """One sentence about the rows that no input reads to their end; None where there are none. Rows in windows are read whole."""
    count = len({one.row for one in inputs if one.num_cut})
    if not count:
        return None
    name, longest = reader.cut_field
    pairs = any(one.num_cut and one.kinds for one in inputs) and name == "text"
    or_pairs = f", or a pair of more than {reader.wrap.room(2)} together" if pairs else ""
    rows = f"{count:,} of {len({one.row for one in inputs}):,} rows"
    return f"{rows} have a {name} of more than {longest} tokens{or_pairs}; the rest of it is not read."
