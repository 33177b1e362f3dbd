"""Extractive answering: where in a context the answer to a question begins and ends, or that it is not there.

The first token of a window stands for "not here" (Devlin et al. 2019; Rajpurkar et al. 2018).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from noria.data import AnswerExample, Example
from noria.data.examples import HeadTask
from noria.engine.heads.reader import Floats, Input, Prediction
from noria.engine.heads.text_input import Wrap, windows
from noria.model import Tokenizer
from noria.model.precision import Precision

NUM_BEST = 20
"""Begins and ends of each window that are tried with one another."""
MAX_QUESTION, MAX_ANSWER = 64, 64
"""Tokens of a question that are read, and of an answer."""
NOTHING: dict[str, Any] = {"answer": "", "start": -1}


class Answerer:
    """The reader.

    Args:
        stride: tokens of the context that windows share.
        none_margin: by how much "not here" must beat the best span before no answer is given; None: it never is.
    """

    task: HeadTask = "answer"
    auto_class = "AutoModelForQuestionAnswering"
    precision: Precision | None = None

    def __init__(self, tokenizer: Tokenizer, wrap: Wrap, stride: int = 96, none_margin: float | None = 0.0, with_kinds: bool = False) -> None:
        self.tokenizer, self.wrap, self.stride, self.with_kinds, self.none_margin = tokenizer, wrap, stride, with_kinds, none_margin

    @property
    def cut_field(self) -> tuple[str, int]:
        """A question leaves the context half of what the model reads."""
        return "question", min(MAX_QUESTION, max(1, self.wrap.room(2) // 2))

    def inputs(self, rows: Sequence[Example]) -> list[Input]:
        rows = cast(Sequence[AnswerExample], rows)
        questions = self.tokenizer.encode_batch([row.question for row in rows])
        contexts = self.tokenizer.encode_with_offsets([row.context for row in rows])
        return [one for index, row in enumerate(rows) for one in self._inputs(index, row, questions[index], *contexts[index])]

    def _inputs(self, index: int, row: AnswerExample, question: list[int], context: list[int], offsets: list[tuple[int, int]]) -> list[Input]:
        _, question_room = self.cut_field
        num_cut = max(0, len(question) - question_room)
        question = question[:question_room]
        room = self.wrap.room(2) - len(question)
        before = len(self.wrap.begin) + len(question) + len(self.wrap.between)
        known = row.answers
        spans = [] if known is None else [(start, start + len(text)) for start, text in zip(known.answer_start, known.text, strict=True)]
        made: list[Input] = []
        for start, end in windows(len(context), room, self.stride):
            token_ids, kinds = self.wrap.pair(question, context[start:end])
            here = offsets[start:end]
            places = (*[None] * before, *here, *[None] * (len(token_ids) - before - len(here)))
            target = _target(spans, here, before)
            made.append(Input(row=index, token_ids=token_ids, kinds=kinds, target=target, places=places, num_cut=num_cut))
        return made

    def outputs(self, inputs: Sequence[Input], found: Mapping[str, Floats]) -> list[Floats]:
        """Scores of a begin and of an end at each token (2, tokens); nothing begins in the question."""
        made: list[Floats] = []
        for place, one in enumerate(inputs):
            length = len(one.token_ids)
            scores = np.stack([found[name][place, :length] for name in ("start_logits", "end_logits")])
            scores[:, barred(one)] = -np.inf
            made.append(scores)
        return made

    def predictions(self, rows: Sequence[Example], inputs: Sequence[Input], outputs: Sequence[Floats]) -> list[Prediction]:
        rows = cast(Sequence[AnswerExample], rows)
        best: list[tuple[float, int, int]] = [(-math.inf, 0, 0)] * len(rows)
        none = [math.inf] * len(rows)
        for one, (starts, ends) in zip(inputs, outputs, strict=True):
            none[one.row] = min(none[one.row], float(starts[0] + ends[0]))
            best[one.row] = max(best[one.row], _best_span(one, starts, ends))
        return [self._prediction(row, found, nothing) for row, found, nothing in zip(rows, best, none, strict=True)]

    def _prediction(self, row: AnswerExample, found: tuple[float, int, int], nothing: float) -> Prediction:
        score, start, end = found
        margin = score - nothing
        text = row.context[start:end]
        answer = text.strip()  # tokens of bytes begin with the space before a word
        if not answer or (self.none_margin is not None and margin < -self.none_margin):
            return Prediction(output={**NOTHING, "score": round(_sigmoid(-margin), 6)}, scores=(margin,))
        start += len(text) - len(text.lstrip())
        return Prediction(output={"answer": answer, "start": start, "score": round(_sigmoid(margin), 6)}, scores=(margin,))


def barred(one: Input) -> list[int]:
    """Tokens that no answer begins or ends with: those of the question and the special ones but the first."""
    return [at for at, span in enumerate(one.places) if span is None and at > 0]


def _target(spans: Sequence[tuple[int, int]], here: Sequence[tuple[int, int]], before: int) -> tuple[int, int]:
    """First and last token of the first answer that the window holds whole; (0, 0): it holds none."""
    for begin, end in spans:
        if here and here[0][0] <= begin and end <= here[-1][1]:
            first = next(i for i, (_, token_end) in enumerate(here) if token_end > begin)
            last = next(i for i in reversed(range(len(here))) if here[i][0] < end)
            if first <= last:
                return before + first, before + last
    return 0, 0


def _best_span(one: Input, starts: Floats, ends: Floats) -> tuple[float, int, int]:
    """Score, begin and end in characters of the best span of a window."""
    best = (-math.inf, 0, 0)
    first_ones, last_ones = (np.argsort(-scores, kind="stable")[:NUM_BEST].tolist() for scores in (starts, ends))
    for first in first_ones:
        for last in last_ones:
            if one.places[first] is not None and one.places[last] is not None and first <= last < first + MAX_ANSWER:
                best = max(best, (float(starts[first] + ends[last]), one.places[first][0], one.places[last][1]))
    return best


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
