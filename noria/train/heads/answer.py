"""Extractive answering: what is learnt of where an answer begins and ends.

L = -(log p(begin = s | x) + log p(end = e | x)) / 2, both over the tokens of a window; the first token stands for "not here" (Devlin et al. 2019).
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch.nn import functional

from noria.data import AnswerExample, Example
from noria.engine.heads import Answerer, Input
from noria.engine.heads.answerer import MAX_ANSWER, barred
from noria.train.heads.head import padded
from noria.train.objective import Loss

MOST_BYTES = 4
"""Of a character, and so the most tokens that a tokenizer makes of one."""


class Answer(Answerer):
    """The head."""

    def settings(self) -> dict[str, Any]:
        return {}

    def too_long(self, rows: Sequence[Example]) -> str | None:
        """One sentence about rows whose answers have more tokens than one that is given; None where there are none."""
        asked = [row for row in cast(Sequence[AnswerExample], rows) if row.answers and row.answers.text]
        asked = [row for row in asked if row.answers and min(map(len, row.answers.text)) * MOST_BYTES > MAX_ANSWER]  # the others cannot be
        found = self.tokenizer.encode_with_offsets([row.context for row in asked])
        count = sum(_fewest_tokens(row, offsets) > MAX_ANSWER for row, (_, offsets) in zip(asked, found, strict=True))
        if not count:
            return None
        return f"{count:,} of {len(rows):,} rows have only answers of more than {MAX_ANSWER} tokens, which are never given. Mark shorter ones."

    def weight(self, inputs: Sequence[Input]) -> float:
        return float(len(inputs))

    def loss(self, model: Any, inputs: Sequence[Input]) -> Loss:
        batch = padded(inputs, self.tokenizer.pad_id, model.device, self.with_kinds)
        output = model(**batch)
        closed = batch["attention_mask"] == 0
        for place, one in enumerate(inputs):
            closed[place, barred(one)] = True
        targets = torch.tensor([one.target for one in inputs], device=closed.device)
        scores = [logits.float().masked_fill(closed, float("-inf")) for logits in (output.start_logits, output.end_logits)]
        losses = [functional.cross_entropy(logits, targets[:, side], reduction="sum") for side, logits in enumerate(scores)]
        return Loss(total=(losses[0] + losses[1]) / 2)


def _fewest_tokens(row: AnswerExample, offsets: Sequence[tuple[int, int]]) -> int:
    """Tokens of the row's shortest answer, in its context."""
    assert row.answers is not None
    spans = [(start, start + len(text)) for start, text in zip(row.answers.answer_start, row.answers.text, strict=True)]
    return min(sum(begin < last and first < end for begin, end in offsets) for first, last in spans)
