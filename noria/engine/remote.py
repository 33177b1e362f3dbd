"""Generation by a remote server that speaks the OpenAI chat API: vLLM, llama.cpp, a cloud, or another Noria.

In: requests; tools, schemas, stop strings and seeds are passed on in the API's own terms. Out: deltas and generations without token ids and
log-probabilities; calls arrive whole in the last record, never as text. Before the first byte of an answer a request is tried again after
connection failures, 429 and 5xx, with exponential backoff and full jitter; after it, never: what was heard once must not be said twice.
"""

import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

import httpx

from noria.engine.answer import check_settings, generation_of
from noria.errors import ContextOverflowError, DataError, ModelError
from noria.model.template import visible_content
from noria.schema import Delta, Generation, GenerationRequest, Message, ToolCall, ToolSpec
from noria.schema.generation import FinishReason

_MAX_BACKOFF_SECONDS = 30.0
_ASSUMED_CONTEXT_TOKENS = 131_072


class RemoteGenerator:
    """A `Generator` behind an OpenAI-compatible URL.

    Args:
        url: up to and including the version, such as `http://localhost:8000/v1`.
        context_tokens: the model's context; None trusts the server to refuse what does not fit.
        timeout_seconds: how long the server may be silent.
        backoff_seconds: the longest first pause before a retry; it doubles each time.
    """

    def __init__(
        self,
        url: str,
        model: str,
        api_key: str | None = None,
        *,
        context_tokens: int | None = None,
        timeout_seconds: float = 120.0,
        max_retries: int = 4,
        backoff_seconds: float = 0.5,
        max_concurrent: int = 32,
    ) -> None:
        self._model = model
        self._context_tokens = context_tokens
        self._max_retries = max_retries
        self._backoff_seconds = backoff_seconds
        self._client = httpx.Client(
            base_url=url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds)),
            limits=httpx.Limits(max_connections=max_concurrent),
        )

    @property
    def name(self) -> str:
        return self._model

    @property
    def context_tokens(self) -> int:
        return self._context_tokens or _ASSUMED_CONTEXT_TOKENS

    def count_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        """An upper estimate: two and a half ASCII characters or two thirds of another character a token, and eight tokens a message."""
        texts = [json.dumps(_message(m), ensure_ascii=False) for m in messages] + [json.dumps(t.to_openai(), ensure_ascii=False) for t in tools]
        num_ascii = sum(char.isascii() for text in texts for char in text)
        num_other = sum(map(len, texts)) - num_ascii
        return math.ceil(num_ascii / 2.5 + num_other * 1.5) + 8 * len(texts)

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        check_settings(request)
        num_prompt = self.count_tokens(request.messages, request.tools)
        if num_prompt + request.max_tokens > self.context_tokens:
            raise ContextOverflowError(num_prompt, request.max_tokens, self.context_tokens)
        return self._stream(request, num_prompt)

    def generate(self, request: GenerationRequest) -> Generation:
        return generation_of(self.stream(request))

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stream(self, request: GenerationRequest, num_prompt: int) -> Iterator[Delta | Generation]:
        answer = _Answer(num_prompt=num_prompt)
        body = _body(request, self._model)
        for attempt in range(self._max_retries + 1):
            try:
                for text in self._events(body, answer, request):
                    yield Delta(text=text)
                yield answer.generation()
                return
            except _Again as failure:
                if attempt == self._max_retries or answer.heard:
                    raise ModelError(f"The server at '{self._client.base_url}' failed: {failure}. Check `[engine] url`, or try later.") from failure
                time.sleep(self._pause(attempt, failure.retry_after))
        raise AssertionError("unreachable")

    def _pause(self, attempt: int, retry_after: float | None) -> float:
        if retry_after is not None:
            return min(retry_after, _MAX_BACKOFF_SECONDS)
        return random.uniform(0, min(self._backoff_seconds * 2**attempt, _MAX_BACKOFF_SECONDS))

    def _events(self, body: dict[str, Any], answer: "_Answer", request: GenerationRequest) -> Iterator[str]:
        """Texts as they come; the rest is noted in `answer`. Raises _Again where trying again may help, else ModelError."""
        try:
            with self._client.stream("POST", "chat/completions", json=body) as response:
                if response.status_code != HTTPStatus.OK:
                    response.read()
                    self._refused(response, answer.num_prompt, request)
                for event in _server_sent(response):
                    text = answer.take(event)
                    if text:
                        yield text
        except httpx.TransportError as error:
            raise _Again(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        if answer.finish_reason is None:
            raise _Again("the answer was cut off")

    def _refused(self, response: httpx.Response, num_prompt: int, request: GenerationRequest) -> None:
        message, code = _error_of(response)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _Again(f"status {response.status_code}, {message}", _seconds(response.headers.get("retry-after")))
        if code == "context_length_exceeded":
            raise ContextOverflowError(num_prompt, request.max_tokens, self.context_tokens)
        if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise ModelError(f"The server at '{self._client.base_url}' refuses the key: {message}. Check the variable `[engine] api_key_env` names.")
        if response.status_code == HTTPStatus.NOT_FOUND:
            raise ModelError(f"The server at '{self._client.base_url}' knows no model {self._model!r} or no chat: {message}. Check `[engine]`.")
        raise ModelError(f"The server at '{self._client.base_url}' refuses the request: status {response.status_code}, {message}.")


class _Again(Exception):
    """A failure after which the same request may succeed."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass
class _Answer:
    """What was heard so far of one answer."""

    num_prompt: int
    texts: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    finish_reason: FinishReason | None = None
    num_completion: int | None = None
    began: float = field(default_factory=time.perf_counter)
    first_token_seconds: float = 0.0

    @property
    def heard(self) -> bool:
        return bool(self.texts or self.calls)

    def take(self, event: Mapping[str, Any]) -> str:
        """Note one chunk; its text."""
        if event.get("error"):
            raise ModelError(f"The server failed while it answered: {event['error']!r:.200}.")
        usage = event.get("usage")
        if usage:
            self.num_prompt, self.num_completion = usage["prompt_tokens"], usage["completion_tokens"]
        for choice in event.get("choices", ()):
            if choice.get("finish_reason"):
                self.finish_reason = _FINISH_REASONS.get(choice["finish_reason"], "stop")
            return self._take_delta(choice.get("delta") or {})
        return ""

    def generation(self) -> Generation:
        text = "".join(self.texts)
        calls = tuple(_call(self.calls[index]) for index in sorted(self.calls))
        return Generation(
            message=Message(role="assistant", content=text, tool_calls=calls),
            text=text,
            finish_reason="tool_calls" if calls and self.finish_reason == "stop" else self.finish_reason or "stop",
            num_prompt_tokens=self.num_prompt,
            num_completion_tokens=len(self.texts) if self.num_completion is None else self.num_completion,
            first_token_seconds=self.first_token_seconds,
            seconds=time.perf_counter() - self.began,
        )

    def _take_delta(self, delta: Mapping[str, Any]) -> str:
        text: str = delta.get("content") or ""
        if not self.heard and (text or delta.get("tool_calls")):
            self.first_token_seconds = time.perf_counter() - self.began
        if text:
            self.texts.append(text)
        for part in delta.get("tool_calls") or ():
            call = self.calls.setdefault(part.get("index", 0), {"id": "", "name": "", "arguments": ""})
            function = part.get("function") or {}
            call["id"] += part.get("id") or ""
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""
        return text


_FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


def _call(parts: Mapping[str, str]) -> ToolCall:
    try:
        message = Message.from_openai(
            {"role": "assistant", "tool_calls": [{"id": parts["id"], "function": {"name": parts["name"], "arguments": parts["arguments"]}}]}
        )
    except DataError as error:
        raise ModelError(f"The remote model called {parts['name']!r} with {parts['arguments']!r:.200}, which cannot be read: {error}") from error
    return message.tool_calls[0]


def _body(request: GenerationRequest, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if request.tools:
        body["tools"] = [tool.to_openai() for tool in request.tools]
        body["tool_choice"] = request.tool_choice
    if request.response_schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.response_schema, "strict": True}}
    return body


def _message(message: Message) -> dict[str, Any]:
    return message.model_copy(update={"content": visible_content(message)}).to_openai()


def _server_sent(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events, up to `[DONE]`."""
    buffer = b""
    for block in response.iter_bytes():
        buffer += block
        *lines, buffer = buffer.split(b"\n")  # not iter_lines: it also splits at line separators inside JSON strings
        for line in lines:
            data = line.strip().removeprefix(b"data:").strip()
            if not line.startswith(b"data:") or not data:
                continue
            if data == b"[DONE]":
                return
            try:
                yield json.loads(data)
            except ValueError as error:
                raise ModelError(f"The server sent an event that is not JSON: {data[:120]!r}. Check `[engine] url`.") from error


def _error_of(response: httpx.Response) -> tuple[str, str | None]:
    try:
        error = response.json()["error"]
        return str(error.get("message", error))[:300], error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        return response.text[:300], None


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:
        return None
