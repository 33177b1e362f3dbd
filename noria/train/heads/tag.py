"""Tagging: what is learnt of the tags of a row.

Without transitions the loss is that of one label (`noria.train.heads.classify`) for each token, with its class weights and its smoothing; with them
it is the negative log-likelihood of the whole row (`noria.train.heads.crf`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from noria.data.tag_schemes import Scheme
from noria.engine.heads import Input, Tagger, Wrap
from noria.engine.heads.tagger import TransitionScores, allowed_transitions
from noria.model import Tokenizer
from noria.train.heads.crf import Transitions
from noria.train.heads.head import padded
from noria.train.objective import Loss

TRANSITIONS_NAME = "tag_transitions"
"""Under which a model holds the transitions of its head, so that they are trained with it."""


class Tag(Tagger):
    """The head.

    Args:
        crf: whether transitions are learnt.
        smoothing: share of the target that is spread over all tags.
        class_weights: what a token of each tag counts; empty: all alike. Both without transitions.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        wrap: Wrap,
        tags: Sequence[str],
        scheme: Scheme,
        crf: bool = False,
        stride: int = 64,
        with_kinds: bool = False,
        smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
    ) -> None:
        super().__init__(tokenizer, wrap, tags, scheme, None, stride, with_kinds)
        self.crf, self.smoothing = crf, smoothing
        self.class_weights = torch.tensor(class_weights) if class_weights else None
        self.transitions = Transitions(*map(torch.from_numpy, allowed_transitions(self.tags, scheme)))

    def settings(self) -> dict[str, Any]:
        return {"num_labels": len(self.tags), "id2label": dict(enumerate(self.tags)), "label2id": self._index}

    def weight(self, inputs: Sequence[Input]) -> float:
        if self.class_weights is None:
            return float(sum(len(one.target) for one in inputs))
        return float(sum(self.class_weights[one.target].sum().item() for one in inputs))

    def loss(self, model: Any, inputs: Sequence[Input]) -> Loss:
        emissions = self._emissions(model, inputs)
        targets = [torch.tensor(one.target, dtype=torch.long, device=model.device) for one in inputs]
        if not self.crf:
            weights = None if self.class_weights is None else self.class_weights.to(model.device)
            every = torch.cat(emissions), torch.cat(targets)
            return Loss(total=functional.cross_entropy(*every, weight=weights, label_smoothing=self.smoothing, reduction="sum"))
        padded_emissions = torch.nn.utils.rnn.pad_sequence(emissions, batch_first=True)
        padded_targets = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)
        lengths = torch.tensor([len(target) for target in targets], device=model.device)
        mask = torch.arange(padded_targets.shape[1], device=model.device) < lengths[:, None]
        whole = torch.tensor([one.whole for one in inputs], device=model.device)
        return Loss(total=self.transitions.loss(padded_emissions, padded_targets, mask, whole))

    def transition_scores(self) -> TransitionScores:
        """As they are learnt at the time."""
        between, begin, end = (part.detach().float().cpu().numpy() for part in self.transitions.scores())
        return between, begin, end

    def _emissions(self, model: Any, inputs: Sequence[Input]) -> list[torch.Tensor]:
        """Scores (tokens of the row in this window, tags) of each input."""
        logits = model(**padded(inputs, self.tokenizer.pad_id, model.device, self.with_kinds)).logits.float()
        return [logits[place, [at for at, word in enumerate(one.places) if word is not None]] for place, one in enumerate(inputs)]
