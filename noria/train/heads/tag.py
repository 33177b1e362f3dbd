"""Tagging: one tag for each token of a row.

Without transitions L = -sum_t log p(y_t | x); with them the negative log-likelihood of the whole row (`noria.train.heads.crf`). Either way the best
tags are those that their scheme allows behind one another.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch.nn import functional

from noria.data import Example, TagExample
from noria.data.tag_schemes import Scheme, follows
from noria.model import Tokenizer
from noria.train.heads.crf import Transitions
from noria.train.heads.head import Input, Prediction, padded
from noria.train.heads.text_input import Wrap, windows
from noria.train.objective import Loss
from noria.train.precision import Precision

TRANSITIONS_NAME = "tag_transitions"
"""Under which a model holds the transitions of its head, so that they are trained with it."""


class Tag:
    """The head. A token is read as its pieces, the first of which carries its tag; one that the tokenizer makes nothing of is read as unknown.

    Args:
        tags: in the order of the model's outputs.
        crf: whether transitions are learnt.
        stride: tokens that windows of a longer row share.
    """

    task = "tag"
    auto_class = "AutoModelForTokenClassification"
    precision: Precision | None = None

    def __init__(
        self, tokenizer: Tokenizer, wrap: Wrap, tags: Sequence[str], scheme: Scheme, crf: bool = False, stride: int = 64, with_kinds: bool = False
    ) -> None:
        self.tokenizer, self.wrap, self.tags, self.crf = tokenizer, wrap, tuple(tags), crf
        self.scheme: Scheme = scheme
        self.stride, self.with_kinds = stride, with_kinds
        self.transitions = Transitions(*allowed_transitions(self.tags, scheme))
        self._index = {tag: index for index, tag in enumerate(self.tags)}
        self._unknown = tokenizer.role_id("unk_token")

    def settings(self) -> dict[str, Any]:
        return {"num_labels": len(self.tags), "id2label": dict(enumerate(self.tags)), "label2id": self._index}

    def inputs(self, rows: Sequence[Example]) -> list[Input]:
        return [one for index, row in enumerate(cast(Sequence[TagExample], rows)) for one in self._inputs(index, row)]

    def _inputs(self, index: int, row: TagExample) -> list[Input]:
        words = [word if place == 0 or _stands_alone(word) else f" {word}" for place, word in enumerate(row.tokens)]
        pieces: list[int] = []
        places: list[int | None] = []
        nothing = [self.tokenizer.pad_id if self._unknown is None else self._unknown]
        for place, ids in enumerate(self.tokenizer.encode_batch(words)):
            pieces += ids or nothing
            places += [place, *[None] * (len(ids) - 1)]
        known = [self._index.get(tag) for tag in row.tags] if row.tags else None
        made: list[Input] = []
        for start, end in windows(len(pieces), self.wrap.room(), self.stride):
            here = [None] * len(self.wrap.begin) + places[start:end] + [None] * len(self.wrap.end)
            target = None if known is None else [known[place] for place in here if place is not None]
            whole = start == 0, end == len(pieces)
            made.append(Input(row=index, token_ids=self.wrap.one(pieces[start:end]), target=target, places=tuple(here), whole=whole))
        return made

    def weight(self, inputs: Sequence[Input]) -> float:
        return float(sum(len(one.target) for one in inputs))

    def loss(self, model: Any, inputs: Sequence[Input]) -> Loss:
        emissions = self._emissions(model, inputs)
        targets = [torch.tensor(one.target, dtype=torch.long, device=model.device) for one in inputs]
        if not self.crf:
            return Loss(total=functional.cross_entropy(torch.cat(emissions), torch.cat(targets), reduction="sum"))
        padded_emissions = torch.nn.utils.rnn.pad_sequence(emissions, batch_first=True)
        padded_targets = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)
        lengths = torch.tensor([len(target) for target in targets], device=model.device)
        mask = torch.arange(padded_targets.shape[1], device=model.device) < lengths[:, None]
        whole = torch.tensor([one.whole for one in inputs], device=model.device)
        return Loss(total=self.transitions.loss(padded_emissions, padded_targets, mask, whole))

    def outputs(self, model: Any, inputs: Sequence[Input]) -> list[torch.Tensor]:
        return [one.cpu() for one in self._emissions(model, inputs)]

    def _emissions(self, model: Any, inputs: Sequence[Input]) -> list[torch.Tensor]:
        """Scores (tokens of the row in this window, tags) of each input."""
        logits = model(**padded(inputs, self.tokenizer.pad_id, model.device, self.with_kinds)).logits.float()
        return [logits[place, [at for at, word in enumerate(one.places) if word is not None]] for place, one in enumerate(inputs)]

    def predictions(self, rows: Sequence[Example], inputs: Sequence[Input], outputs: Sequence[Any]) -> list[Prediction]:
        rows = cast(Sequence[TagExample], rows)
        found: list[dict[int, tuple[int, torch.Tensor]]] = [{} for _ in rows]
        for one, emissions in zip(inputs, outputs, strict=True):
            words = [(at, word) for at, word in enumerate(one.places) if word is not None]
            for (at, word), emission in zip(words, emissions, strict=True):
                centred = min(at, len(one.places) - at)  # of two windows, the one that sees more on both sides
                if centred > found[one.row].get(word, (-1, emission))[0]:
                    found[one.row][word] = (centred, emission)
        return [self._prediction(len(row.tokens), of_row) for row, of_row in zip(rows, found, strict=True)]

    def _prediction(self, num_tokens: int, found: dict[int, tuple[int, torch.Tensor]]) -> Prediction:
        tags = ["O"] * num_tokens
        read = sorted(found)
        if read:
            emissions = torch.stack([found[word][1] for word in read])
            emissions = emissions if self.crf else emissions.log_softmax(-1)
            [best] = self.transitions.best(emissions[None], [len(read)])
            for word, tag in zip(read, best, strict=True):
                tags[word] = self.tags[tag]
        return Prediction(output={"tags": tags})


def allowed_transitions(tags: Sequence[str], scheme: Scheme) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which tag may follow which (from, to), begin a row, and end one."""
    between = torch.tensor([[follows(before, after, scheme) for after in tags] for before in tags])
    first = torch.tensor([follows(None, tag, scheme) for tag in tags])
    last = torch.tensor([follows(tag, None, scheme) for tag in tags])
    return between, first, last


def _stands_alone(word: str) -> bool:
    """Whether a word is written without a space before it: Chinese, Japanese, Korean characters and punctuation."""
    first = word[:1]
    return not first or unicodedata.east_asian_width(first) in "WF" or unicodedata.category(first).startswith("P")
