"""Tasks without training: a model that is shown past cases (`prompting`), or the answers of the nearest cases (`retrieval`).

In: the rows of `noria tune`. Out: a folder with the cases, their vectors and `cases.json`, which `noria predict`, `noria evaluate` and `[model] base`
of nothing else take as they take a tuned one. Cases are chosen for each question anew (Liu et al. 2022, "What makes good in-context examples"); a
model may think before it answers (Wei et al. 2022) and answer several times, of which the most frequent counts (Wang et al. 2023).
"""

import json
from collections import Counter, abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast

from pydantic import Field

from noria.config import MOST_MINUTES, Section
from noria.data import AnswerExample, ChatExample, ClassifyExample, Example, Task
from noria.data.task_checks import OUT_OF_SCOPE
from noria.engine.heads.answerer import NOTHING
from noria.errors import ArtifactError, ContextOverflowError
from noria.evaluate.lengths import brief, too_long
from noria.lifecycle.cases import AT_ONCE, CaseBook, conversation_text, question_text
from noria.lifecycle.measure import CASES
from noria.model import resolve
from noria.model.tool_text import call_json
from noria.schema import Delta, Generation, GenerationRequest, Generator, Message, Record, ToolSpec, canonical_json
from noria.train.sentences import SentenceEncoder

T = TypeVar("T")
NAME = CASES
UntrainedMethod = Literal["prompting", "retrieval"]
VOTING_TEMPERATURE = 0.7
MOST_LABELS = 40
"""Labels that a model is told; of more, those of the cases nearest to the text."""
NEAREST_LABELS = 30
"""Cases whose labels those are."""
MAX_ANSWER_TOKENS = (160, 320)
"""In languages of letters, and in Chinese."""
CONCURRENCY = 16
TEXTS = {
    "classify": ("Say which label fits the text. The labels are: {labels}.", "判断下面文字的标签。可选的标签：{labels}。"),
    "several": (
        "Say which labels fit the text; several may, or none. The labels are: {labels}.",
        "判断下面文字的标签，可以有多个，也可以没有。可选的标签：{labels}。",
    ),
    "answer": (
        "Answer the question with words of the text, copied exactly. If the text does not say, answer with nothing.",
        "用文中的原话回答问题，一字不改。如果文中没有答案，就回答空。",
    ),
    "thought": ("Think briefly before you answer.", "回答之前先简短地想一想。"),
    "cases": ("Past cases, each with the right answer:", "以往的例子及其正确答案："),
}


class UntrainedConfig(Section):
    """What `--set` sets for the methods that train nothing."""

    method: UntrainedMethod = "prompting"
    """Show a model past cases (prompting), or give the answers of the nearest ones (retrieval)."""
    num_examples: int | None = Field(default=None, ge=0, le=64)
    """Cases that are shown, 0 for none, or that vote; None: the number that does best on rows of the evaluation file."""
    thought: bool = False
    """Whether the model thinks in words before it answers (prompting; classify and answer)."""
    votes: int = Field(default=1, ge=1, le=64)
    """How often the model is asked; the most frequent answer counts (prompting)."""
    encoder: str | None = None
    """What tells which cases are alike; None: the sentence encoder that comes with Noria, for Chinese the Chinese one."""
    minutes: float | None = Field(default=None, gt=0, le=MOST_MINUTES)
    """Time for finding `num_examples`; a model is asked fewer rows where it is short (prompting)."""


class CasesFile(Record):
    """What a prediction needs beside the cases."""

    method: UntrainedMethod
    task: Task
    encoder: str
    base: str | None = None
    num_examples: int = 0
    thought: bool = False
    votes: int = 1
    labels: tuple[str, ...] = ()
    several: bool = False
    chinese: bool = False
    threshold: float = 0.0
    """Share of the votes below which no label fits (`out_of_scope`); 0: one always does."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        try:
            return cls.model_validate_json((folder / NAME).read_bytes())
        except (OSError, ValueError) as error:
            raise ArtifactError(f"'{folder / NAME}' cannot be read ({error!s:.200}). Tune again.") from error

    def say(self, name: str, **values: str) -> str:
        """A sentence for the model, in the language of the rows."""
        return TEXTS[name][self.chinese].format(**values)


class Untrained:
    """A folder of cases at work.

    Args:
        generator: what is shown the cases; None where nothing is generated.
    """

    def __init__(self, file: CasesFile, book: CaseBook, generator: Generator | None) -> None:
        self.file, self.book, self._generator = file, book, generator

    @classmethod
    def open(cls, folder: Path, opened: Callable[[str], Generator]) -> Self:
        """Raises ArtifactError, ConfigError, ModelError."""
        file = CasesFile.read(folder)
        task: Task = file.task if file.task in ("classify", "answer") else "chat"
        book = CaseBook.read(folder, task, SentenceEncoder(resolve(file.encoder)))
        return cls(file, book, None if file.base is None else opened(file.base))

    def close(self) -> None:
        if self._generator is not None:
            self._generator.close()

    @property
    def generator(self) -> Generator:
        assert self._generator is not None
        return self._generator

    def predictions(self, rows: Sequence[Example]) -> Iterator[dict[str, Any]]:
        """What is said of each row of `classify` or `answer`, in their order, as it is found."""
        if self.file.method == "retrieval":
            for start in range(0, len(rows), AT_ONCE):
                texts = [question_text(row) for row in rows[start : start + AT_ONCE]]
                yield from map(self.voted, self.book.nearest(texts, max(1, self.file.num_examples)))
            return
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            yield from pool.map(self._asked, rows)

    def voted(self, near: Sequence[tuple[int, float]]) -> dict[str, Any]:
        """The label with most of the likeness of the nearest cases, or every label with half of it."""
        weights: dict[str, float] = {}
        for index, likeness in near:
            for label in _labels_of(self.book.rows[index]):
                weights[label] = weights.get(label, 0.0) + max(likeness, 0.0) ** 2
        whole = sum(max(likeness, 0.0) ** 2 for _, likeness in near) or 1.0
        shares = {label: weight / whole for label, weight in weights.items()}
        return self._labelled(shares)

    def _labelled(self, shares: Mapping[str, float]) -> dict[str, Any]:
        if self.file.several:
            kept = sorted(label for label, share in shares.items() if share >= 0.5)
            return {"labels": kept, "scores": [round(shares[label], 4) for label in kept]}
        best = max(shares, key=lambda label: (shares[label], label)) if shares else self.file.labels[0]
        return or_none({"label": best, "score": round(shares.get(best, 0.0), 4)}, self.file.threshold)

    def _asked(self, row: Example) -> dict[str, Any]:
        said = self._said(row)
        if isinstance(row, AnswerExample):
            answers = Counter(str(one["answer"]) for one in said if "answer" in one)
            answer, count = answers.most_common(1)[0] if answers else ("", 0)
            found = {"answer": answer, "start": row.context.find(answer)} if answer else NOTHING
            return {**found, "score": count / len(said)}
        name = "labels" if self.file.several else "label"
        counts = Counter(label for one in said if name in one for label in (set(one[name]) if self.file.several else [one[name]]))
        return self._labelled({label: count / len(said) for label, count in counts.items()})

    def _said(self, row: Example) -> list[dict[str, Any]]:
        """What the model writes of a row, each an object: empty where it found no end, after a second try without its thought if it had one."""
        found: list[dict[str, Any]] = []
        for request in votes_of(self._request(row, self.file.thought), self.file.votes):
            said = _read(self.generator.generate(request).message.content)
            if said is None and self.file.thought:
                said = _read(self.generator.generate(self._request(row, False)).message.content)
            found.append(said or {})
        return found

    def _request(self, row: Example, thought: bool) -> GenerationRequest:
        examples = self.book.chosen(question_text(row), self.file.num_examples)
        labels = self._labels(question_text(row)) if isinstance(row, ClassifyExample) else ()
        kind = "several" if self.file.several else str(self.file.task)
        task = self.file.say(kind, labels=", ".join(labels)) if labels else self.file.say(kind)
        head = f"{task} {self.file.say('thought')}" if thought else task
        asked = Message(role="user", content=_question(row))
        room = MAX_ANSWER_TOKENS[self.file.chinese] + (brief(self.file.chinese)[1] if thought else 0)

        def messages(shown: Sequence[Example]) -> tuple[Message, ...]:
            cases = [f"{_question(one)}\n{json.dumps(self._right(one), ensure_ascii=False)}" for one in shown]
            return Message(role="system", content="\n\n".join([head, *([self.file.say("cases"), *cases] if cases else [])])), asked

        whole = fitting(self.generator, messages, examples, max_tokens=room)
        return GenerationRequest(messages=whole, response_schema=self._schema(labels, thought), max_tokens=room)

    def _labels(self, text: str) -> tuple[str, ...]:
        if len(self.file.labels) <= MOST_LABELS:
            return self.file.labels
        [near] = self.book.nearest([text], NEAREST_LABELS)
        return tuple(dict.fromkeys(label for index, _ in near for label in _labels_of(self.book.rows[index]))) or self.file.labels[:MOST_LABELS]

    def _right(self, row: Example) -> dict[str, Any]:
        if isinstance(row, AnswerExample):
            return {"answer": row.answers.text[0] if row.answers and row.answers.text else ""}
        labels = _labels_of(row)
        return {"labels": labels} if self.file.several else {"label": labels[0]}

    def _schema(self, labels: Sequence[str], thought: bool) -> dict[str, Any]:
        one = {"type": "string", "enum": list(labels)}
        if self.file.task == "answer":
            fields: dict[str, Any] = {"answer": {"type": "string"}}
        else:
            fields = {"labels": {"type": "array", "items": one, "maxItems": len(labels)}} if self.file.several else {"label": one}
        if thought:
            fields = {"thought": {"type": "string", "maxLength": brief(self.file.chinese)[0]}, **fields}
        return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


class CaseGenerator:
    """A generator that is shown past cases with every request, or, where it retrieves, gives the nearest case's answer: a `Generator`."""

    def __init__(self, untrained: Untrained) -> None:
        self._untrained = untrained

    @property
    def name(self) -> str:
        return f"{self._untrained.file.method} ({self._untrained.file.base or self._untrained.file.encoder})"

    @property
    def context_tokens(self) -> int:
        return 1 << 30 if self._retrieves else self._untrained.generator.context_tokens

    @property
    def _retrieves(self) -> bool:
        return self._untrained.file.method == "retrieval"

    def count_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        return 0 if self._retrieves else self._untrained.generator.count_tokens(messages, tools)

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        if self._retrieves:
            found = self._nearest(request)
        elif self._untrained.file.votes == 1:
            yield from self._untrained.generator.stream(self._shown(request))
            return
        else:
            found = self._elected(request)
        yield Delta(text=found.text, token_ids=found.token_ids)
        yield found

    def generate(self, request: GenerationRequest) -> Generation:
        return [piece for piece in self.stream(request) if isinstance(piece, Generation)][-1]

    def close(self) -> None:
        self._untrained.close()

    def _nearest(self, request: GenerationRequest) -> Generation:
        [[(index, _)]] = self._untrained.book.nearest([conversation_text(request.messages)], 1)
        message = cast(ChatExample, self._untrained.book.rows[index]).messages[-1]
        text = message.content or "\n".join(call_json(call.name, call.arguments, request.tools) for call in message.tool_calls)
        reason = "tool_calls" if message.tool_calls else "stop"
        return Generation(
            message=message, text=text, finish_reason=reason, num_prompt_tokens=0, num_completion_tokens=0, first_token_seconds=0.0, seconds=0.0
        )

    def _elected(self, request: GenerationRequest) -> Generation:
        made = [self._untrained.generator.generate(one) for one in votes_of(self._shown(request), self._untrained.file.votes)]
        counts = Counter(_meaning(one.message) for one in made)
        return max(made, key=lambda one: counts[_meaning(one.message)])

    def _shown(self, request: GenerationRequest) -> GenerationRequest:
        file, generator = self._untrained.file, self._untrained.generator
        examples = self._untrained.book.chosen(conversation_text(request.messages), file.num_examples)
        first = request.messages[0]
        told, rest = (first.content, request.messages[1:]) if first.role == "system" else ("", request.messages)

        def messages(shown: Sequence[Example]) -> tuple[Message, ...]:
            if not shown:
                return request.messages
            cases = "\n\n".join([file.say("cases"), *(_case_text(cast(ChatExample, one), request.tools) for one in shown)])
            return Message(role="system", content=f"{told}\n\n{cases}".strip()), *rest

        whole = fitting(generator, messages, examples, request.tools, request.max_tokens)
        return request.model_copy(update={"messages": whole})


def fitting(
    generator: Generator,
    messages: Callable[[Sequence[Example]], tuple[Message, ...]],
    examples: Sequence[Example],
    tools: Sequence[ToolSpec] = (),
    max_tokens: int = MAX_ANSWER_TOKENS[0],
) -> tuple[Message, ...]:
    """The messages with as many of the examples as the model's context holds; those least like the question are left out first."""
    for first in range(len(examples)):
        made = messages(examples[first:])
        if generator.count_tokens(made, tools) + max_tokens <= generator.context_tokens:
            return made
    return messages(())


def or_none(said: dict[str, Any], threshold: float) -> dict[str, Any]:
    """A label, or that none fits where its share of the votes is below a threshold."""
    share = said["score"]
    return said if share >= threshold else {"label": OUT_OF_SCOPE, "score": round(1 - share, 4)}


def placed(found: Iterator[T], places: Iterable[str]) -> abc.Generator[T]:
    """What is said of rows, in their order; DataError with the place of the first that the model's context does not hold."""
    for place in places:
        try:
            yield next(found)
        except StopIteration:
            return
        except ContextOverflowError as error:
            raise too_long(place, error) from error


def votes_of(request: GenerationRequest, count: int) -> list[GenerationRequest]:
    """The request itself, or `count` of them that are answered with a temperature, each by a seed of its own."""
    if count == 1:
        return [request]
    return [request.model_copy(update={"temperature": VOTING_TEMPERATURE, "seed": seed}) for seed in range(count)]


def _read(text: str) -> dict[str, Any] | None:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _question(row: Example) -> str:
    return f"{row.context}\n\n{row.question}" if isinstance(row, AnswerExample) else question_text(row)


def _labels_of(row: Example) -> list[str]:
    label = cast(ClassifyExample, row).label
    return [label] if isinstance(label, str) else list(label or ())


def _case_text(row: ChatExample, tools: Sequence[ToolSpec]) -> str:
    answer = row.messages[-1]
    said = "\n".join(call_json(call.name, call.arguments, tools) for call in answer.tool_calls) or answer.content
    return f"user: {conversation_text(row.messages[:-1])}\nassistant: {said}"


def _meaning(message: Message) -> str:
    return canonical_json([message.content if not message.tool_calls else "", *([call.name, call.arguments] for call in message.tool_calls)])
