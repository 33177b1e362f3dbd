"""The request bodies of the HTTP surface, checked once, and what they mean in Noria's records.

In: the JSON of a chat completion as OpenAI defines it, or of a piece of feedback. Out: `ChatRequest`, whose messages, tools and sampling are
records. A field that is wrong, unknown, or known but not supported raises a `ServeError` with status 400 that names it; nothing that would
change the answer is ignored silently. What is accepted without effect stands at the end of `ChatBody` and in docs/http.md.
"""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from noria.errors import DataError, ServeError
from noria.schema import Message, ToolSpec


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatBody(BaseModel):
    """`POST /v1/chat/completions`: OpenAI's fields. Those of the second group are accepted only with values that change nothing."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1, max_length=10_000)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[dict[str, Any]] | None = Field(default=None, max_length=128)
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    user: str | None = Field(default=None, max_length=256)
    safety_identifier: str | None = Field(default=None, max_length=256)
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    conversation: str | None = Field(default=None, max_length=128)

    # Accepted with values that change nothing, because clients send them unasked.
    n: Literal[1] | None = None
    top_logprobs: Literal[0, 1] | None = None
    frequency_penalty: float | None = Field(default=None, ge=0, le=0)
    presence_penalty: float | None = Field(default=None, ge=0, le=0)
    logit_bias: dict[str, float] | None = Field(default=None, max_length=0)
    modalities: list[Literal["text"]] | None = None
    store: bool | None = None
    service_tier: str | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None


class FeedbackBody(BaseModel):
    """`POST /v1/feedback`; `value` by `kind` as `noria.schema.Feedback` says."""

    model_config = ConfigDict(strict=True, extra="forbid")

    receipt: str = Field(min_length=1, max_length=128)
    kind: str
    value: Any
    source: str = Field(default="anonymous", min_length=1, max_length=256)
    role: Literal["user", "operator", "environment", "system"] = "user"
    step: int | None = Field(default=None, ge=0)


class ChangeBody(BaseModel):
    """`POST /v1/releases/{id}/promote` and `/rollback`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    reason: str = Field(default="", max_length=1000)


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A checked chat request. `own_model_call` is true where the client brings its own tools or answer format: the model alone answers."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    tool_choice: Literal["auto", "required", "none"]
    response_schema: dict[str, Any] | None
    stream: bool
    include_usage: bool
    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    seed: int | None
    stop: tuple[str, ...]
    logprobs: bool
    user_id: str
    conversation_id: str | None
    metadata: dict[str, str]

    @property
    def own_model_call(self) -> bool:
        return bool(self.tools) or self.response_schema is not None


def read_chat(body: ChatBody) -> ChatRequest:
    """Turn a body into records. Raises ServeError (400) naming the field."""
    if body.max_tokens is not None and body.max_completion_tokens is not None and body.max_tokens != body.max_completion_tokens:
        raise ServeError("`max_tokens` and `max_completion_tokens` differ; give one of them.", param="max_completion_tokens")
    if body.stream_options is not None and not body.stream:
        raise ServeError("`stream_options` is only allowed with `stream` true.", param="stream_options")
    tools, choice = _tools(body)
    metadata = body.metadata or {}
    schema = _response_schema(body.response_format)
    if schema is not None and tools:
        raise ServeError("`response_format` and `tools` exclude each other; give one of them.", param="response_format")
    return ChatRequest(
        model=body.model,
        messages=_messages(body.messages),
        tools=tools,
        tool_choice=choice,
        response_schema=schema,
        stream=bool(body.stream),
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        stop=_stop(body.stop),
        logprobs=bool(body.logprobs),
        user_id=body.safety_identifier or body.user or "anonymous",
        conversation_id=body.conversation or metadata.get("conversation_id"),
        metadata=metadata,
    )


def _messages(given: list[dict[str, Any]]) -> tuple[Message, ...]:
    messages: list[Message] = []
    for index, data in enumerate(given):
        known = {**data, "role": "system"} if data.get("role") == "developer" else data
        try:
            messages.append(Message.from_openai(known))
        except DataError as error:
            raise ServeError(f"`messages[{index}]`: {error}", param=f"messages[{index}]") from error
    if messages[-1].role not in ("user", "tool", "system"):
        raise ServeError(f"The last of `messages` has role '{messages[-1].role}'; it must be what the user (or a tool) said.", param="messages")
    return tuple(messages)


def _tools(body: ChatBody) -> tuple[tuple[ToolSpec, ...], Literal["auto", "required", "none"]]:
    tools: list[ToolSpec] = []
    for index, data in enumerate(body.tools or ()):
        try:
            tools.append(ToolSpec.from_openai(data))
            tools[-1].check_name()
        except DataError as error:
            raise ServeError(f"`tools[{index}]`: {error}", param=f"tools[{index}]") from error
    choice = body.tool_choice if body.tool_choice is not None else "auto"
    if isinstance(choice, dict):
        function = choice.get("function")
        wanted = function.get("name") if isinstance(function, dict) else None
        tools = [tool for tool in tools if tool.name == wanted]
        if not tools:
            raise ServeError(f"`tool_choice` names the function {wanted!r}, which is not among `tools`.", param="tool_choice")
        return tuple(tools), "required"
    if choice not in ("auto", "required", "none"):
        raise ServeError(f"`tool_choice` is {choice!r:.80}; allowed: auto, required, none, or one function.", param="tool_choice")
    if choice == "required" and not tools:
        raise ServeError("`tool_choice` is 'required' but `tools` is empty.", param="tool_choice")
    return tuple(tools), choice


def _response_schema(given: dict[str, Any] | None) -> dict[str, Any] | None:
    kind = given.get("type") if given is not None else "text"
    if given is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    inner = given.get("json_schema")
    schema = inner.get("schema") if kind == "json_schema" and isinstance(inner, dict) else None
    if not isinstance(schema, dict):
        allowed = "{'type': 'text'}, {'type': 'json_object'} or {'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}"
        raise ServeError(f"`response_format` is {given!r:.120}; allowed: {allowed}.", param="response_format")
    return schema


def _stop(given: str | list[str] | None) -> tuple[str, ...]:
    stop = (given,) if isinstance(given, str) else tuple(given or ())
    if len(stop) > 4 or any(not text for text in stop):
        what = f"{len(stop)} texts" if len(stop) > 4 else "an empty text"
        raise ServeError(f"`stop` has {what}; allowed: one to four texts, none empty.", param="stop")
    return stop
