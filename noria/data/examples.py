"""The rows of the task files, one frozen model a task; unknown fields and wrong values are refused with their place.

A chat row has OpenAI's messages and function schemas plus two keys of ours on a message: `hints` (see `Message`), and `train`. Without any
`train` every assistant message is trained on; with one, exactly the messages that say true are.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from noria.errors import DataError
from noria.schema import Message, ToolSpec, canonical_json

Task = Literal["chat", "tools", "classify", "score", "embed", "tag", "answer", "summarize", "rewrite", "preference", "thumbs", "corpus"]
HeadTask = Literal["classify", "score", "embed", "tag", "answer"]
"""Tasks that a layer on a model answers."""
WritingTask = Literal["chat", "tools", "summarize", "rewrite"]
"""Tasks for which a model writes."""
MAX_SCORE = 1e100
"""How far a score may be from 0: what is measured sums squares of errors, which must be finite."""


def message_row(message: Message, train: bool | None = None) -> dict[str, Any]:
    """A message as a task file holds it."""
    row = message.to_openai()
    if message.hints:
        row["hints"] = list(message.hints)
    if train is not None:
        row["train"] = train
    return row


def _message(value: Any) -> Message:
    if isinstance(value, Message):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("must be an object with `role` and `content`")  # noqa: TRY004 - pydantic collects ValueError only
    unknown = sorted(set(value) - {"role", "content", "tool_calls", "tool_call_id", "name", "hints", "train", "refusal"})
    if unknown:
        raise ValueError(f"unknown field `{unknown[0]}`; allowed: role, content, tool_calls, tool_call_id, name, hints, train")
    hints = value.get("hints") or ()
    if not isinstance(hints, Sequence) or isinstance(hints, str) or not all(isinstance(h, str) for h in hints):
        raise ValueError("`hints` must be a list of texts")
    try:
        return Message.from_openai(dict(value)).model_copy(update={"hints": tuple(hints)})
    except DataError as error:
        raise ValueError(str(error)) from error


def _tool(value: Any) -> ToolSpec:
    if isinstance(value, ToolSpec):
        return value
    try:
        tool = ToolSpec.from_openai(value)
        tool.check_name()
    except DataError as error:
        raise ValueError(str(error)) from error
    return tool


def _prompt(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def _reply(value: Any) -> Any:
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    return [value] if isinstance(value, Mapping | Message) else value


def _measurable(score: float) -> float:
    if abs(score) > MAX_SCORE:
        raise ValueError(f"must be a number from {-MAX_SCORE:g} to {MAX_SCORE:g}; write the scores in a larger unit")
    return score


def _label(value: Any) -> Any:
    """A label, or a list of them, with whole numbers as they are written: 0 is "0"."""
    if isinstance(value, bool | float):
        raise ValueError(f"a label is a text; write {json.dumps(json.dumps(value))}")  # noqa: TRY004 - pydantic collects ValueError only
    if isinstance(value, list):
        return [_label(one) for one in cast(list[Any], value)]
    return str(value) if isinstance(value, int) else value


FileMessage = Annotated[Message, BeforeValidator(_message), PlainSerializer(message_row)]
FileTool = Annotated[ToolSpec, BeforeValidator(_tool), PlainSerializer(ToolSpec.to_openai)]
Prompt = Annotated[tuple[FileMessage, ...], BeforeValidator(_prompt), Field(min_length=1)]
"""Messages, or a text: one user message."""
Reply = Annotated[tuple[FileMessage, ...], BeforeValidator(_reply), Field(min_length=1)]
"""Assistant messages (with tool results between them), or a text: one assistant message."""


class Example(BaseModel):
    """What every row may carry besides its task's own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str | None = None
    source: str | None = None
    license: str | None = None
    metadata: dict[str, Any] = {}

    def to_row(self) -> dict[str, Any]:
        """The row as its file holds it; what is not set is left out."""
        return self.model_dump(exclude_defaults=True)


class ChatExample(Example):
    """A dialogue to learn from; `train` says for each message whether it is trained on."""

    messages: Annotated[tuple[FileMessage, ...], Field(min_length=1)]
    tools: tuple[FileTool, ...] = ()
    train: tuple[bool, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read_train(cls, data: Any) -> Any:
        """Gather the `train` of each message; none at all means every assistant message."""
        if not isinstance(data, Mapping) or "train" in data or not isinstance(data.get("messages"), Sequence):
            return data
        messages = data["messages"]
        flags = [m.get("train") if isinstance(m, Mapping) else None for m in messages]
        wrong = next((i for i, flag in enumerate(flags) if flag is not None and not isinstance(flag, bool)), None)
        if wrong is not None:
            raise ValueError(f"`messages[{wrong}].train` is {flags[wrong]!r}; allowed: true, false")
        if all(flag is None for flag in flags):
            roles = [m.role if isinstance(m, Message) else m.get("role") if isinstance(m, Mapping) else None for m in messages]
            return {**data, "train": [role == "assistant" for role in roles]}
        return {**data, "train": [bool(flag) for flag in flags]}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.train) != len(self.messages):
            raise ValueError(f"`train` has {len(self.train)} values for {len(self.messages)} messages")
        wrong = next((i for i, (m, t) in enumerate(zip(self.messages, self.train, strict=True)) if t and m.role != "assistant"), None)
        if wrong is not None:
            raise ValueError(f"`messages[{wrong}].train` is true, but its role is {self.messages[wrong].role!r}; allowed only on 'assistant'")
        if not any(self.train):
            raise ValueError("no message to train on; at least one must have the role 'assistant'")
        _check_calls(self.messages, self.tools)
        return self

    def to_row(self) -> dict[str, Any]:
        whole = all(t == (m.role == "assistant") for m, t in zip(self.messages, self.train, strict=True))
        marks = [None if whole or m.role != "assistant" else t for m, t in zip(self.messages, self.train, strict=True)]
        messages = [message_row(m, mark) for m, mark in zip(self.messages, marks, strict=True)]
        return {"messages": messages, **self.model_dump(exclude_defaults=True, exclude={"train", "messages"})}


class ThumbsExample(Example):
    """An answer and whether it was good (KTO)."""

    prompt: Prompt
    completion: Reply
    label: Annotated[bool, Field(strict=True)]
    tools: tuple[FileTool, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_reply("completion", self.completion)
        _check_calls((*self.prompt, *self.completion), self.tools)
        return self


class PreferenceExample(Example):
    """Two answers to one prompt, the better one first (DPO, reward model)."""

    prompt: Prompt
    chosen: Reply
    rejected: Reply
    tools: tuple[FileTool, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field, reply in (("chosen", self.chosen), ("rejected", self.rejected)):
            _check_reply(field, reply)
            _check_calls((*self.prompt, *reply), self.tools)
        if [m.hash for m in self.chosen] == [m.hash for m in self.rejected]:
            raise ValueError("`chosen` and `rejected` are the same")
        return self


class ClassifyExample(Example):
    """A text, or a pair, with its label or labels; without, it only asks."""

    text: str
    text_pair: str | None = None
    label: Annotated[str | tuple[str, ...] | None, BeforeValidator(_label)] = None


class ScoreExample(Example):
    """A text, or a pair, with a number that belongs to it; without, it only asks."""

    text: str
    text_pair: str | None = None
    score: Annotated[float, Field(allow_inf_nan=False), AfterValidator(_measurable)] | None = None


class EmbedExample(Example):
    """A text and one that belongs to it, perhaps with others that do not; without, it only asks."""

    text: str
    positive: str | None = None
    negatives: tuple[str, ...] = ()


class TagExample(Example):
    """Tokens, each with its tag; without tags it only asks."""

    tokens: Annotated[tuple[str, ...], Field(min_length=1)]
    tags: tuple[Annotated[str, Field(pattern=r"^(O|[BIMES]-.+)$")], ...] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tags is not None and len(self.tokens) != len(self.tags):
            raise ValueError(f"`tags` has {len(self.tags)} values for {len(self.tokens)} `tokens`; each token needs one")
        return self


class Answers(BaseModel):
    """Accepted answers with the character at which each begins; both empty when the context has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: tuple[str, ...]
    answer_start: tuple[int, ...]


class AnswerExample(Example):
    """A question about a context (SQuAD); without answers it only asks."""

    question: str
    context: str
    answers: Answers | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        found = self.answers or Answers(text=(), answer_start=())
        if len(found.text) != len(found.answer_start):
            raise ValueError(f"`answers` has {len(found.text)} `text` and {len(found.answer_start)} `answer_start`; they go in pairs")
        for text, start in zip(found.text, found.answer_start, strict=True):
            if not text.strip():
                raise ValueError(f"`answers.text` has {text!r}; where `context` holds no answer `text` and `answer_start` are both empty lists")
            if start < 0 or self.context[start : start + len(text)] != text:
                raise ValueError(f"`answers.answer_start` is {start}, but {text!r:.60} does not stand there in `context`")
        return self


class TextPairExample(Example):
    """A text and what it should become: its summary, or its new wording."""

    text: str
    target: str | None = None


class CorpusExample(Example):
    """A document to pre-train on."""

    text: str
    url: str | None = None


EXAMPLES: dict[Task, type[Example]] = {
    "chat": ChatExample,
    "tools": ChatExample,
    "classify": ClassifyExample,
    "score": ScoreExample,
    "embed": EmbedExample,
    "tag": TagExample,
    "answer": AnswerExample,
    "summarize": TextPairExample,
    "rewrite": TextPairExample,
    "preference": PreferenceExample,
    "thumbs": ThumbsExample,
    "corpus": CorpusExample,
}
assert set(EXAMPLES) == set(get_args(Task))


def _check_reply(field: str, messages: Sequence[Message]) -> None:
    if messages[-1].role != "assistant":
        raise ValueError(f"`{field}` ends with the role {messages[-1].role!r}; its last message must have the role 'assistant'")
    wrong = next((m.role for m in messages if m.role not in ("assistant", "tool")), None)
    if wrong is not None:
        raise ValueError(f"`{field}` has the role {wrong!r}; allowed: 'assistant', 'tool'")


def _check_calls(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> None:
    """A call names one of the tools, where the row has tools; a result names a call before it."""
    names = {tool.name for tool in tools}
    called: set[str] = set()
    for index, message in enumerate(messages):
        for position, call in enumerate(message.tool_calls):
            if names and call.name not in names:
                where = f"messages[{index}].tool_calls[{position}].function.name"
                raise ValueError(f"`{where}` is {call.name!r}; the row's tools are: {', '.join(sorted(names))}")
            called.add(call.id)
        if message.role == "tool" and message.tool_call_id is not None and message.tool_call_id not in called:
            raise ValueError(f"`messages[{index}].tool_call_id` is {message.tool_call_id!r}, which no call before it has")


def conversation_of(example: Example, otherwise: str) -> str:
    """What a row comes from: rows of one conversation stay on one side of a split and are not independent of each other."""
    return str(example.metadata.get("conversation") or example.id or otherwise)


def example_key(example: Example) -> str:
    """What makes two rows the same for learning: everything but where they come from."""
    row = example.to_row()
    for field in ("id", "source", "license", "metadata", "url"):
        row.pop(field, None)
    return canonical_json(row)
