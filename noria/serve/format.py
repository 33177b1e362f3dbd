"""Answers as OpenAI writes them: the completion object, its chunks as server-sent events, tool calls, usage and log-probabilities."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from noria.schema import Message, ToolCall

DONE = b"data: [DONE]\n\n"
PING = b": waiting\n\n"
"""A comment that keeps proxies from closing a connection while the model reads a long prompt."""


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What every chunk of one answer repeats."""

    receipt: str
    model: str
    created: int
    conversation_id: str
    release: str

    def noria(self) -> dict[str, Any]:
        return {"receipt": self.receipt, "conversation_id": self.conversation_id, "release": self.release}

    def headers(self) -> dict[str, str]:
        return {"x-noria-receipt": self.receipt, "x-noria-conversation": self.conversation_id, "x-noria-release": self.release}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of an answer: all prompts the model read for it, and all it wrote."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(prompt_tokens=self.prompt_tokens + other.prompt_tokens, completion_tokens=self.completion_tokens + other.completion_tokens)

    def to_openai(self) -> dict[str, int]:
        total = self.prompt_tokens + self.completion_tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens, "total_tokens": total}


def completion(head: Heading, message: Message, finish_reason: str, usage: Usage, logprobs: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    said = {**message.to_openai(), "refusal": None}
    choice = {"index": 0, "message": said, "finish_reason": finish_reason, "logprobs": _logprobs(logprobs)}
    return {
        "id": head.receipt,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [choice],
        "usage": usage.to_openai(),
        "noria": head.noria(),
    }


class Chunks:
    """Makes the chunks of one streamed answer. What they share is encoded once, so that a token costs one small `json.dumps`."""

    def __init__(self, head: Heading, include_usage: bool) -> None:
        shared = json.dumps({"id": head.receipt, "object": "chat.completion.chunk", "created": head.created, "model": head.model}, ensure_ascii=False)
        self._head = head
        self._include_usage = include_usage
        self._start = f"data: {shared[:-1]}, "
        usage = ', "usage": null' if include_usage else ""
        self._text_start = self._start + '"choices": [{"index": 0, "delta": {"content": '
        self._text_end = f'}}, "finish_reason": null, "logprobs": null}}]{usage}}}\n\n'

    def first(self) -> bytes:
        """The chunk that says who speaks, with the receipt and the conversation."""
        return self._chunk({"role": "assistant", "content": ""}, noria=self._head.noria())

    def text(self, text: str) -> bytes:
        return (self._text_start + json.dumps(text) + self._text_end).encode()

    def note(self, step: dict[str, Any]) -> bytes:
        """A step of the agent: an empty delta, and the step in the extra field `noria`."""
        return self._chunk({}, noria={"step": step})

    def tool_calls(self, calls: Sequence[ToolCall]) -> Iterable[bytes]:
        """Each call as two deltas: its name, then its arguments."""
        for index, call in enumerate(calls):
            arguments = json.dumps(call.arguments, ensure_ascii=False)
            yield self._chunk({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}]})
            yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})

    def last(self, finish_reason: str, usage: Usage, logprobs: list[dict[str, Any]] | None) -> bytes:
        """The finish reason (with the log-probabilities of the whole answer), the usage if asked for, and `[DONE]`."""
        end = self._chunk({}, finish_reason=finish_reason, logprobs=_logprobs(logprobs))
        if self._include_usage:
            end += (self._start + f'"choices": [], "usage": {json.dumps(usage.to_openai())}}}\n\n').encode()
        return end + DONE

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None, noria: dict[str, Any] | None = None) -> bytes:
        rest: dict[str, Any] = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}]}
        if self._include_usage:
            rest["usage"] = None
        if noria is not None:
            rest["noria"] = noria
        return (self._start + json.dumps(rest, ensure_ascii=False)[1:] + "\n\n").encode()


def error_event(body: dict[str, Any]) -> bytes:
    """An error after the answer has begun: the one place left to say it."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def token_logprobs(pieces: Sequence[tuple[str, tuple[int, ...]]], token_ids: Sequence[int], logprobs: Sequence[float]) -> list[dict[str, Any]]:
    """One entry a sampled token.

    Args:
        pieces: texts as they were streamed, each with the token ids it stands for; a piece of several tokens names its text at the first.
    """
    texts: list[str] = []
    for text, ids in pieces:
        texts.extend([text, *[""] * (len(ids) - 1)][: len(ids)])
    texts += [""] * (len(token_ids) - len(texts))
    return [
        {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []} for text, logprob in zip(texts, logprobs, strict=False)
    ]


def _logprobs(entries: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    return None if entries is None else {"content": entries, "refusal": None}
