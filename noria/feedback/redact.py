"""Replace personal data by typed placeholders that mean the same value all through a conversation: <EMAIL_1>, <PHONE_2>.

Texts, arguments of tool calls and results of tools are treated alike, so a model still learns to copy a guest's number from the text into a call.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from noria.data import ChatExample, PreferenceExample, ThumbsExample
from noria.data.personal import LABELS, PersonalData, Placeholders, same_value
from noria.feedback.config import FeedbackConfig
from noria.schema import Message, canonical_json

E = TypeVar("E", ChatExample, ThumbsExample, PreferenceExample)


class Redactor:
    """Makes a `Redaction` for each conversation; the recognisers are shared."""

    def __init__(self, config: FeedbackConfig | None = None) -> None:
        self._config = config or FeedbackConfig()
        self._data = PersonalData(self._config.redact, self._config.phone_regions)

    def conversation(self, public: Iterable[str] = ()) -> "Redaction":
        """Start a conversation. Values that stand in the `public` texts (system prompts) are the project's own and are kept."""
        kept = {same_value(span.entity, text[span.start : span.end]) for text in public for span in self._data.find(text)}
        kept |= {same_value(entity, value) for value in self._config.keep for entity in LABELS}
        return Redaction(self._data, kept)

    def example(self, example: E) -> E:
        """A row of a task file, its messages redacted as one conversation."""
        fields = [name for name in ("prompt", "messages", "completion", "chosen", "rejected") if hasattr(example, name)]
        before = {name: getattr(example, name) for name in fields}
        redaction = self.conversation(m.content for messages in before.values() for m in messages if m.role == "system")
        after = {name: redaction.messages(messages) for name, messages in before.items()}
        return example.model_copy(update={name: after[name] for name in fields if after[name] != before[name]})


class Redaction:
    """The placeholders of one conversation; the same value gets the same one, in the order of first appearance."""

    def __init__(self, data: PersonalData, kept: set[tuple[str, str]]) -> None:
        self._data = data
        self._placeholders = Placeholders(data, kept)

    @property
    def counts(self) -> dict[str, int]:
        """How many different values of each kind were replaced."""
        return self._placeholders.counts

    def message(self, message: Message) -> Message:
        """The message without personal data."""
        calls = tuple(call.model_copy(update={"arguments": self.value(call.arguments)}) for call in message.tool_calls)
        content = self._tool_result(message.content) if message.role == "tool" else self.text(message.content)
        return message.model_copy(update={"content": content, "tool_calls": calls, "hints": tuple(self.text(h) for h in message.hints)})

    def messages(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        return tuple(self.message(m) for m in messages)

    def text(self, text: str) -> str:
        return self._placeholders.text(text)

    def value(self, value: Any) -> Any:
        """Any JSON value, its texts redacted. A whole number that is personal data as it stands becomes its placeholder."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 999_999:
            spans = self._data.find(str(value))
            whole = len(spans) == 1 and (spans[0].start, spans[0].end) == (0, len(str(value)))
            return self.text(str(value)) if whole else value
        return value

    def _tool_result(self, content: str) -> str:
        """A result that is JSON stays JSON, also where a number was replaced."""
        if content[:1] in ("{", "["):
            try:
                parsed = json.loads(content)
            except ValueError:
                return self.text(content)
            redacted = self.value(parsed)
            if canonical_json(redacted) == canonical_json(parsed):
                return content
            return json.dumps(redacted, ensure_ascii=False, separators=(",", ":"))
        return self.text(content)
