"""Messages, tool calls and tool schemas: one record for what is said, stored, rendered, trained on and sent over HTTP.

`to_openai` and `from_openai` translate to the chat format of the OpenAI API, which is also the `chat` task file.
"""

import hashlib
import json
import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from noria.errors import DataError

Role = Literal["system", "user", "assistant", "tool"]
Effect = Literal["reads", "writes", "sends", "pays"]


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no white space, UTF-8 kept. Content addresses are made from it."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


class Record(BaseModel):
    """Base of all records: frozen, and a field nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolCall(Record):
    """One call the assistant decided on; `arguments` are already parsed."""

    id: str
    name: str
    arguments: dict[str, Any]


class Message(Record):
    """One message of a conversation.

    `hints` are canonical forms the framework recognised in `content` (a date as 2026-03-04, a time as 18:30); they are
    shown to the model behind the text, never to people.
    """

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    hints: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Content address: equal messages share it."""
        return hashlib.sha256(canonical_json(self.model_dump(exclude_defaults=True)).encode()).hexdigest()

    def to_openai(self) -> dict[str, Any]:
        """The message as the OpenAI chat format writes it (arguments as a JSON string)."""
        out: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            out["content"] = self.content or None
            out["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": json.dumps(c.arguments, ensure_ascii=False)}}
                for c in self.tool_calls
            ]
        if self.tool_call_id is not None:
            out["tool_call_id"] = self.tool_call_id
        if self.name is not None:
            out["name"] = self.name
        return out

    @classmethod
    def from_openai(cls, data: Any) -> Self:
        """Read a message in the OpenAI chat format.

        Raises:
            DataError: naming the field, its value and what is allowed.
        """
        if not isinstance(data, dict):
            raise DataError(f"A message is an object with `role` and `content`, not {data!r:.80}.")
        if data.get("role") == "user" and data.get("content") is None:
            raise DataError("Message field `content` of a user is missing; it must be a string or a list of text parts.")
        calls = data.get("tool_calls") or []
        if not isinstance(calls, list | tuple):
            raise DataError(f"Message field `tool_calls` must be a list, not {calls!r:.80}.")
        try:
            return cls(
                role=data.get("role"),  # type: ignore[arg-type]
                content=_text_content(data.get("content")),
                tool_calls=tuple(_tool_call(c, i) for i, c in enumerate(calls)),
                tool_call_id=data.get("tool_call_id"),
                name=data.get("name"),
            )
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise DataError(f"Message field `{field}` is {first['input']!r:.80}: {first['msg']}.") from error


class ToolSpec(Record):
    """A tool as the model sees it. `parameters` is a JSON Schema of type object; `effect` is what calling it does to the world."""

    name: str
    description: str = ""
    parameters: dict[str, Any]
    effect: Effect = "reads"

    def check_name(self) -> None:
        """Refuse a name that a call could not carry. Told where a tool is new, and of files.

        What a project has recorded is read as it is. Raises DataError.
        """
        if not re.fullmatch(r"\S{1,128}", self.name):
            raise DataError(f"The name of a tool has 1 to 128 characters and no space; {self.name!r:.140} is none.")

    def to_openai(self) -> dict[str, Any]:
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": self.parameters}}

    @classmethod
    def from_openai(cls, data: Any) -> Self:
        """Read a tool in the OpenAI function format. Raises DataError."""
        function = data.get("function") if isinstance(data, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise DataError(f"A tool is {{'type': 'function', 'function': {{'name', 'parameters'}}}}, not {data!r:.80}.")
        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
            raise DataError(f"`parameters` of tool {function['name']!r} must be a JSON Schema of type object.")
        return cls(name=function["name"], description=function.get("description") or "", parameters=parameters)


def _text_content(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str) for p in content):
        return "".join(p["text"] for p in content)
    raise DataError(f"Message field `content` must be a string or a list of text parts, not {content!r:.80}.")


def _tool_call(data: Any, index: int) -> ToolCall:
    function = data.get("function") if isinstance(data, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise DataError(f"Message field `tool_calls[{index}].function.name` must be a string.")
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError of another kind
            raise DataError(f"Message field `tool_calls[{index}].function.arguments` is not JSON: {error}.") from error
    if not isinstance(arguments, dict):
        raise DataError(f"Message field `tool_calls[{index}].function.arguments` must be a JSON object.")
    return ToolCall(id=data.get("id") or f"call_{index}", name=function["name"], arguments=arguments)
