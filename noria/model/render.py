"""Messages to token ids: the one place where prompts are made, for training and for serving alike.

In: messages and tools. Out: token ids (`prompt`), token ids with a loss mask (`example`), or a message read back from generated text
(`parse`). Every segment is tokenized on its own between special tokens, so the prompt of an assistant message is exactly the beginning of
the example that contains it. Text of users and tools never becomes a special token.

Two styles: `chatml`, for models whose template knows no tools (tools become lines of the system message, a call is one line of JSON), and
`template`, the model's own chat template, for models that learnt tools from it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from noria.errors import ModelError
from noria.model.soft_tokens import soft_ids
from noria.model.template import ChatTemplate, visible_content
from noria.model.tokenizer import Tokenizer
from noria.model.tool_text import call_json, parse_calls, tools_block
from noria.schema import Message, ToolSpec

Style = Literal["chatml", "template"]
CallFormat = Literal["single_key", "tagged"]
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A training example. `loss_mask[i]` says whether `token_ids[i]` is learnt: an assistant's content and the token that ends its turn."""

    token_ids: list[int]
    loss_mask: list[bool]


@dataclass(frozen=True, kw_only=True)
class _Segment:
    """Consecutive tokens; of an assistant's segment the tokens up to the end of the turn are learnt."""

    token_ids: list[int]
    message: int | None = None  # index of the assistant message these tokens are


class Renderer:
    """Renders for one tokenizer.

    Args:
        style: None takes the model's template if it knows tools, else ChatML.
    """

    def __init__(self, tokenizer: Tokenizer, style: Style | None = None) -> None:
        self.tokenizer = tokenizer
        template = tokenizer.chat_template or ""
        self.style: Style = style or ("template" if re.search(r"\btools\b", template) else "chatml")
        self.call_format: CallFormat = "tagged" if self.style == "template" and "<tool_call>" in template else "single_key"
        self._template = ChatTemplate(tokenizer) if self.style == "template" else None
        self._soft = list(soft_ids(tokenizer))
        if self.style == "chatml":
            self._start, self._end = tokenizer.special_id(TURN_START), tokenizer.special_id(TURN_END)

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an assistant's turn."""
        return frozenset({self.tokenizer.eos_id} | ({self._end} if self.style == "chatml" else set()))

    def prompt(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> list[int]:
        """Token ids up to the point where the assistant's next message begins."""
        return [i for segment in self._segments(messages, tools, open_turn=True) for i in segment.token_ids]

    def example(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), train: Sequence[bool] | None = None) -> Rendered:
        """Token ids and loss mask of a whole conversation.

        Args:
            train: one flag a message; None learns every assistant message.
        """
        if train is not None and len(train) != len(messages):
            raise ModelError(f"`train` has {len(train)} flags for {len(messages)} messages; give one a message.")
        token_ids: list[int] = []
        mask: list[bool] = []
        for segment in self._segments(messages, tools, open_turn=False):
            learnt = segment.message is not None and (train is None or train[segment.message])
            length = self._turn_length(segment.token_ids) if learnt else 0
            token_ids += segment.token_ids
            mask += [True] * length + [False] * (len(segment.token_ids) - length)
        return Rendered(token_ids=token_ids, loss_mask=mask)

    def parse(self, text: str, tools: Sequence[ToolSpec] = ()) -> Message:
        """The assistant message a generated text is: calls of known tools, or a reply."""
        calls = parse_calls(text, tools)
        return Message(role="assistant", tool_calls=calls) if calls else Message(role="assistant", content=text)

    def completion_text(self, message: Message, tools: Sequence[ToolSpec] = ()) -> str:
        """What the assistant would have to generate to say this message; the inverse of `parse` in the local format.

        A message with calls is its calls: the local format has no room for words beside them.
        """
        if not message.tool_calls:
            return message.content
        return "\n".join(call_json(call.name, call.arguments, tools) for call in message.tool_calls)

    def _turn_length(self, token_ids: list[int]) -> int:
        stops = self.stop_ids
        return next((at + 1 for at, token_id in enumerate(token_ids) if token_id in stops), len(token_ids))

    def _segments(self, messages: Sequence[Message], tools: Sequence[ToolSpec], open_turn: bool) -> list[_Segment]:
        if self._template is not None:
            return [_Segment(token_ids=ids, message=index) for ids, index in self._template.segments(messages, tools, open_turn)]
        segments = [_Segment(token_ids=self._soft)]
        for index, message in _with_tools(messages, tools):
            header = self._header(message.role)
            body = [*self.tokenizer.encode(self._body(message, tools)), self._end]
            if message.role == "assistant":
                segments += [_Segment(token_ids=header), _Segment(token_ids=body, message=index), _Segment(token_ids=self.tokenizer.encode("\n"))]
            else:
                segments.append(_Segment(token_ids=[*header, *body, *self.tokenizer.encode("\n")]))
        if open_turn:
            segments.append(_Segment(token_ids=self._header("assistant")))
        return segments

    def _header(self, role: str) -> list[int]:
        return [self._start, *self.tokenizer.encode(f"{role}\n")]

    def _body(self, message: Message, tools: Sequence[ToolSpec]) -> str:
        if message.role == "assistant":
            return self.completion_text(message, tools)
        return visible_content(message)


def _with_tools(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[tuple[int, Message]]:
    """Messages with their indices, the tools written into the first system message (made if there is none)."""
    numbered = list(enumerate(messages))
    if not tools:
        return numbered
    block = tools_block(tools)
    if not messages or messages[0].role != "system":
        return [(-1, Message(role="system", content=block)), *numbered]
    first = messages[0]
    content = f"{first.content}\n{block}" if first.content else block
    return [(0, first.model_copy(update={"content": content})), *numbered[1:]]
