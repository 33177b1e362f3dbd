"""Tagging: the tags of a row's tokens that are most probable together, of those that their scheme allows behind one another."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from noria.data import Example, TagExample
from noria.data.examples import HeadTask
from noria.data.tag_schemes import Scheme, follows
from noria.engine.heads.reader import Floats, Input, Prediction
from noria.engine.heads.text_input import Wrap, windows
from noria.model import Tokenizer
from noria.model.precision import Precision

SPACE = "▁"
"""The piece with which SentencePiece's tokenizers begin every text, where it is one of its own."""
NEVER = -1e4
"""Score of a transition that the scheme does not allow."""
TransitionScores: TypeAlias = tuple[Floats, Floats, Floats]
"""Of one tag behind another (from, to), of a beginning and of an end."""
Bools: TypeAlias = NDArray[np.bool_]


class Tagger:
    """The reader. A token is read as its pieces, the first of which carries its tag; one that the tokenizer makes nothing of is read as unknown.

    Args:
        tags: in the order of the model's outputs.
        learnt: transitions that were learnt; None: those of the scheme alone count.
        stride: tokens that windows of a longer row share.
    """

    task: HeadTask = "tag"
    auto_class = "AutoModelForTokenClassification"
    precision: Precision | None = None

    def __init__(
        self,
        tokenizer: Tokenizer,
        wrap: Wrap,
        tags: Sequence[str],
        scheme: Scheme,
        learnt: TransitionScores | None = None,
        stride: int = 64,
        with_kinds: bool = False,
    ) -> None:
        self.tokenizer, self.wrap, self.tags, self.learnt = tokenizer, wrap, tuple(tags), learnt
        self.scheme: Scheme = scheme
        self.stride, self.with_kinds = stride, with_kinds
        self._index = {tag: index for index, tag in enumerate(self.tags)}
        self._unknown = tokenizer.role_id("unk_token")
        self._space = tokenizer.token_id(SPACE)

    @property
    def cut_field(self) -> tuple[str, int]:
        return "text", self.wrap.room()

    def inputs(self, rows: Sequence[Example]) -> list[Input]:
        return [one for index, row in enumerate(cast(Sequence[TagExample], rows)) for one in self._inputs(index, row)]

    def _inputs(self, index: int, row: TagExample) -> list[Input]:
        words = [word if place == 0 or _stands_alone(word) else f" {word}" for place, word in enumerate(row.tokens)]
        pieces: list[int] = []
        places: list[int | None] = []
        nothing = [self.tokenizer.pad_id if self._unknown is None else self._unknown]
        for place, (word, ids) in enumerate(zip(words, self.tokenizer.encode_batch(words), strict=True)):
            if len(ids) > 1 and ids[0] == self._space and _stands_alone(word):
                ids = ids[1:]  # noqa: PLW2901 - there is no space before it, and the tag would stand at what all such words begin with
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

    def outputs(self, inputs: Sequence[Input], found: Mapping[str, Floats]) -> list[Floats]:
        """Scores (tokens of the row in this window, tags) of each input."""
        return [found["logits"][place, [at for at, word in enumerate(one.places) if word is not None]] for place, one in enumerate(inputs)]

    def predictions(self, rows: Sequence[Example], inputs: Sequence[Input], outputs: Sequence[Floats]) -> list[Prediction]:
        rows = cast(Sequence[TagExample], rows)
        found: list[dict[int, tuple[int, Floats]]] = [{} for _ in rows]
        for one, emissions in zip(inputs, outputs, strict=True):
            words = [(at, word) for at, word in enumerate(one.places) if word is not None]
            for (at, word), emission in zip(words, emissions, strict=True):
                centred = min(at, len(one.places) - at)  # of two windows, the one that sees more on both sides
                if centred > found[one.row].get(word, (-1, emission))[0]:
                    found[one.row][word] = (centred, emission)
        scores = self.transition_scores()
        return [self._prediction(len(row.tokens), of_row, scores) for row, of_row in zip(rows, found, strict=True)]

    def _prediction(self, num_tokens: int, found: dict[int, tuple[int, Floats]], scores: TransitionScores) -> Prediction:
        tags = ["O"] * num_tokens
        read = sorted(found)
        if read:
            emissions = np.stack([found[word][1] for word in read])
            for word, tag in zip(read, best_path(emissions, *scores), strict=True):
                tags[word] = self.tags[tag]
        return Prediction(output={"tags": tags})

    def transition_scores(self) -> TransitionScores:
        """What was learnt, with what the scheme does not allow at `NEVER`."""
        allowed = allowed_transitions(self.tags, self.scheme)
        learnt = self.learnt or tuple(np.zeros(part.shape, dtype=np.float32) for part in allowed)
        between, begin, end = (score + np.where(part, 0.0, NEVER).astype(np.float32) for score, part in zip(learnt, allowed, strict=True))
        return between, begin, end


def best_path(emissions: Floats, between: Floats, begin: Floats, end: Floats) -> list[int]:
    """The tags with the largest sum of scores (Viterbi 1967); emissions (time, tags)."""
    score = begin + emissions[0]
    before: list[NDArray[np.intp]] = []
    for emission in emissions[1:]:
        ways = score[:, None] + between
        came_from = ways.argmax(axis=0)
        score = ways[came_from, np.arange(len(score))] + emission
        before.append(came_from)
    tags = [int((score + end).argmax())]
    for came_from in reversed(before):
        tags.append(int(came_from[tags[-1]]))
    return tags[::-1]


def allowed_transitions(tags: Sequence[str], scheme: Scheme) -> tuple[Bools, Bools, Bools]:
    """Which tag may follow which (from, to), begin a row, and end one."""
    between = np.array([[follows(before, after, scheme) for after in tags] for before in tags])
    first = np.array([follows(None, tag, scheme) for tag in tags])
    last = np.array([follows(tag, None, scheme) for tag in tags])
    return between, first, last


def _stands_alone(word: str) -> bool:
    """Whether a word is written without a space before it: Chinese, Japanese, Korean characters and punctuation."""
    first = word[:1]
    return not first or unicodedata.east_asian_width(first) in "WF" or unicodedata.category(first).startswith("P")
