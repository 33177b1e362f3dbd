"""Extractive answering: what is learnt of where an answer begins and ends.

L = -(log p(begin = s | x) + log p(end = e | x)) / 2, both over the tokens of a window; the first token stands for "not here" (Devlin et al. 2019).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from noria.engine.heads import Answerer, Input
from noria.engine.heads.answerer import barred
from noria.train.heads.head import padded
from noria.train.objective import Loss


class Answer(Answerer):
    """The head."""

    def settings(self) -> dict[str, Any]:
        return {}

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
