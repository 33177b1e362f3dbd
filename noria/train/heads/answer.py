"""Extractive answering: where in a context the answer to a question begins and ends, or that it is not there (Devlin et al. 2019; Rajpurkar et al.
2018).

L = -log p(begin = s | x) - log p(end = e | x), both over the tokens of a window; the first token stands for "not here".
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch.nn import functional

from noria.data import AnswerExample, Example
from noria.model import Tokenizer
from noria.train.heads.head import Input, Prediction, padded
from noria.train.heads.text_input import Wrap, windows
from noria.train.objective import Loss
from noria.train.precision import Precision

NUM_BEST = 20
"""Begins and ends of each window that are tried with one another."""
NOTHING: dict[str, Any] = {"answer": "", "start": -1}


class Answer:
    """The head.

    Args:
        stride: tokens of the context that windows share. max_question, max_answer: tokens of a question that are read, and of an answer.
        none_margin: by how much "not here" must beat the best span before no answer is given, found by `noria.train.heads.scope`; None: it never is.
    """

    task = "answer"
    auto_class = "AutoModelForQuestionAnswering"
    precision: Precision | None = None

    def __init__(
        self,
        tokenizer: Tokenizer,
        wrap: Wrap,
        stride: int = 96,
        max_question: int = 64,
        max_answer: int = 64,
        none_margin: float | None = 0.0,
        with_kinds: bool = False,
    ) -> None:
        self.tokenizer, self.wrap, self.stride, self.with_kinds = tokenizer, wrap, stride, with_kinds
        self.max_question, self.max_answer, self.none_margin = max_question, max_answer, none_margin

    @property
    def question_room(self) -> int:
        """Tokens of a question that are read: it leaves the context half of what the model reads."""
        return min(self.max_question, max(1, self.wrap.room(2) // 2))

    def settings(self) -> dict[str, Any]:
        return {}

    def inputs(self, rows: Sequence[Example]) -> list[Input]:
        rows = cast(Sequence[AnswerExample], rows)
        questions = self.tokenizer.encode_batch([row.question for row in rows])
        contexts = self.tokenizer.encode_with_offsets([row.context for row in rows])
        return [one for index, row in enumerate(rows) for one in self._inputs(index, row, questions[index], *contexts[index])]

    def _inputs(self, index: int, row: AnswerExample, question: list[int], context: list[int], offsets: list[tuple[int, int]]) -> list[Input]:
        num_cut = max(0, len(question) - self.question_room)
        question = question[: self.question_room]
        room = self.wrap.room(2) - len(question)
        before = len(self.wrap.begin) + len(question) + len(self.wrap.end)
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

    def weight(self, inputs: Sequence[Input]) -> float:
        return float(len(inputs))

    def loss(self, model: Any, inputs: Sequence[Input]) -> Loss:
        starts, ends = self._logits(model, inputs)
        targets = torch.tensor([one.target for one in inputs], device=starts.device)
        losses = [functional.cross_entropy(logits, targets[:, side], reduction="sum") for side, logits in enumerate((starts, ends))]
        return Loss(total=(losses[0] + losses[1]) / 2)

    def outputs(self, model: Any, inputs: Sequence[Input]) -> list[torch.Tensor]:
        starts, ends = self._logits(model, inputs)
        return [torch.stack((starts[i, : len(one.token_ids)], ends[i, : len(one.token_ids)])).cpu() for i, one in enumerate(inputs)]

    def predictions(self, rows: Sequence[Example], inputs: Sequence[Input], outputs: Sequence[Any]) -> list[Prediction]:
        rows = cast(Sequence[AnswerExample], rows)
        best: list[tuple[float, int, int]] = [(float("-inf"), 0, 0)] * len(rows)
        none = [float("inf")] * len(rows)
        for one, (starts, ends) in zip(inputs, outputs, strict=True):
            none[one.row] = min(none[one.row], float(starts[0] + ends[0]))
            best[one.row] = max(best[one.row], _best_span(one, starts, ends, self.max_answer))
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

    def _logits(self, model: Any, inputs: Sequence[Input]) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of a begin and of an end at each token (inputs, longest); nothing begins in the question or the padding."""
        batch = padded(inputs, self.tokenizer.pad_id, model.device, self.with_kinds)
        output = model(**batch)
        barred = torch.ones_like(batch["input_ids"], dtype=torch.bool)
        for place, one in enumerate(inputs):
            barred[place, [at for at, span in enumerate(one.places) if span is not None]] = False
        barred[:, 0] = False
        return tuple(logits.float().masked_fill(barred, float("-inf")) for logits in (output.start_logits, output.end_logits))  # type: ignore[return-value]


def _target(spans: Sequence[tuple[int, int]], here: Sequence[tuple[int, int]], before: int) -> tuple[int, int]:
    """First and last token of the first answer that the window holds whole; (0, 0): it holds none."""
    for begin, end in spans:
        if here and here[0][0] <= begin and end <= here[-1][1]:
            first = next(i for i, (_, token_end) in enumerate(here) if token_end > begin)
            last = next(i for i in reversed(range(len(here))) if here[i][0] < end)
            if first <= last:
                return before + first, before + last
    return 0, 0


def _best_span(one: Input, starts: torch.Tensor, ends: torch.Tensor, max_answer: int) -> tuple[float, int, int]:
    """Score, begin and end in characters of the best span of a window."""
    best = (float("-inf"), 0, 0)
    count = min(NUM_BEST, len(starts))
    last_ones = ends.topk(count).indices.tolist()
    for first in starts.topk(count).indices.tolist():
        for last in last_ones:
            if one.places[first] is not None and one.places[last] is not None and first <= last < first + max_answer:
                best = max(best, (float(starts[first] + ends[last]), one.places[first][0], one.places[last][1]))
    return best


def _sigmoid(x: float) -> float:
    return float(torch.tensor(x).sigmoid())
