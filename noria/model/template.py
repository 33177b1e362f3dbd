"""A model's own chat template, made safe for training: same text for prompt and example, no special token out of a user's text.

In: messages and tools. Out: segments of token ids, the assistant's marked. The text of an assistant message is the difference between the
template's output with it and the prompt before it; a template that rewrites what it said earlier is refused, because what was served could
then not be trained on.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from noria.errors import DependencyError, ModelError
from noria.model.tokenizer import Tokenizer
from noria.schema import Message, ToolSpec

_PRIVATE_USE = 0xF0000  # plane 15: characters that stand for special tokens' text while the template runs


class ChatTemplate:
    """Applies `tokenizer.chat_template` and tokenizes its output in segments. Raises ModelError if the template cannot be compiled."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if not tokenizer.chat_template:
            raise ModelError("The model has no chat template. Set `[model] rendering = 'chatml'`, or name a chat model.")
        self._tokenizer = tokenizer
        self._template = _compile(tokenizer.chat_template)
        added = sorted(tokenizer.added_tokens, key=len, reverse=True)
        self._added = re.compile("|".join(re.escape(token) for token in added)) if added else None
        self._stand_ins = {token: chr(_PRIVATE_USE + i) for i, token in enumerate(added)}
        self._originals = {ord(stand_in): token for token, stand_in in self._stand_ins.items()}

    def segments(self, messages: Sequence[Message], tools: Sequence[ToolSpec], open_turn: bool) -> list[tuple[list[int], int | None]]:
        """Token ids in pieces, each with the index of the assistant message it is, or None."""
        pieces: list[tuple[list[int], int | None]] = []
        done = ""
        for index, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self._text(messages[:index], tools, open_turn=True)
            after = self._text(messages[: index + 1], tools, open_turn=False)
            pieces.append((self._encode(_rest(before, done)), None))
            pieces.append((self._encode(_rest(after, before)), index))
            done = after
        whole = self._text(messages, tools, open_turn=open_turn)
        pieces.append((self._encode(_rest(whole, done)), None))
        return pieces

    def _text(self, messages: Sequence[Message], tools: Sequence[ToolSpec], open_turn: bool) -> str:
        try:
            return self._template.render(
                messages=[self._hidden(_template_message(m)) for m in messages],
                tools=[self._hidden(tool.to_openai()) for tool in tools] or None,
                add_generation_prompt=open_turn,
                enable_thinking=False,
                bos_token=self._tokenizer.bos_token or "",
                eos_token=self._tokenizer.eos_token,
            )
        except Exception as error:  # templates raise whatever they like
            message = f"The model's chat template refuses these messages: {error}. To do without it set `[model] rendering = 'chatml'`."
            raise ModelError(message) from error

    def _hidden(self, value: Any) -> Any:
        """The value with the text of special tokens replaced by stand-ins, so that the template's own special tokens are the only ones."""
        if isinstance(value, str):
            return self._added.sub(lambda m: self._stand_ins[m.group()], value) if self._added else value
        if isinstance(value, dict):
            return {key: self._hidden(item) for key, item in value.items()}
        return [self._hidden(item) for item in value] if isinstance(value, list) else value

    def _encode(self, text: str) -> list[int]:
        token_ids: list[int] = []
        at = 0
        for match in self._added.finditer(text) if self._added else ():
            token_ids += self._plain(text[at : match.start()])
            token_ids.append(self._tokenizer.added_tokens[match.group()])
            at = match.end()
        return token_ids + self._plain(text[at:])

    def _plain(self, text: str) -> list[int]:
        return self._tokenizer.encode(text.translate(self._originals)) if text else []


def visible_content(message: Message) -> str:
    """The content as a model sees it: with the hints of a user's message behind it."""
    return f"{message.content} [{'; '.join(message.hints)}]" if message.hints else message.content


def _template_message(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {"role": message.role, "content": visible_content(message)}
    if message.tool_calls:
        out["tool_calls"] = [{"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in message.tool_calls]
    if message.tool_call_id:
        out["tool_call_id"] = message.tool_call_id
    if message.name:
        out["name"] = message.name
    return out


def _rest(text: str, beginning: str) -> str:
    if not text.startswith(beginning):
        raise ModelError(
            "The model's chat template is not prefix-stable: it changes earlier messages when later ones come, so what is served could not be "
            "trained on. Set `[model] rendering = 'chatml'` in noria.toml."
        )
    return text[len(beginning) :]


def _compile(template: str) -> Any:
    try:
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise DependencyError("Chat templates need Jinja: run `make install` in the clone of Noria.") from error

    def to_json(value: Any, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = to_json
    # No `strftime_now`: a prompt that names the day it was made on could not be rendered again for training.
    cast(dict[str, Any], environment.globals)["raise_exception"] = raise_exception
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise ModelError(f"The model's chat template cannot be compiled: {error}.") from error
