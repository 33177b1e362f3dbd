"""A generator that answers from a script: for tests of logic around a model, never for tests about models.

    with ScriptedGenerator(["Hello!", {"book_table": {"guests": 2}}]) as generator:
        ...

It fails on a call the script has no answer for, and on closing with answers nobody asked for.
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from noria.errors import ContextOverflowError
from noria.schema import Delta, Generation, GenerationRequest, Message, ToolCall, ToolSpec

Answer = str | dict[str, Any] | Message | Exception
Script = Iterable[Answer] | Callable[[GenerationRequest], Answer]


class ScriptedGenerator:
    """Implements `Generator`. An answer is a reply (text), a tool call ({name: arguments}), a whole message, or an error to raise."""

    name = "scripted"

    def __init__(self, script: Script = (), *, context_tokens: int = 8192) -> None:
        """
        Args:
            script: the answers in order, or a function that makes one from each request.
            context_tokens: size of the pretended context; a token is four characters.
        """
        self.context_tokens = context_tokens
        self.requests: list[GenerationRequest] = []
        self.num_cancelled = 0
        self._function = script if callable(script) else None
        self._answers = [] if callable(script) else list(script)
        self._lock = threading.Lock()

    def count_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        texts = [m.content + json.dumps([c.arguments for c in m.tool_calls]) for m in messages] + [t.model_dump_json() for t in tools]
        return sum(len(text) // 4 + 4 for text in texts)

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        answer = self._next(request)
        if isinstance(answer, Exception):
            raise answer
        num_prompt = self.count_tokens(request.messages, request.tools)
        if num_prompt + request.max_tokens > self.context_tokens:
            raise ContextOverflowError(num_prompt, request.max_tokens, self.context_tokens)
        message = _message(answer)
        text = message.content or json.dumps({call.name: call.arguments for call in message.tool_calls}, ensure_ascii=False, separators=(",", ":"))
        ids = tuple(range(len(text)))
        try:
            for start in range(0, len(text), 4):
                yield Delta(text=text[start : start + 4], token_ids=ids[start : start + 4])
        except GeneratorExit:
            self.num_cancelled += 1
            raise
        yield Generation(
            message=message,
            text=text,
            finish_reason="tool_calls" if message.tool_calls else "stop",
            prompt_token_ids=tuple(range(num_prompt)),
            token_ids=ids,
            logprobs=tuple(-0.5 for _ in ids),
            num_prompt_tokens=num_prompt,
            num_completion_tokens=len(ids),
            first_token_seconds=0.0,
            seconds=0.0,
        )

    def generate(self, request: GenerationRequest) -> Generation:
        *_, generation = self.stream(request)
        assert isinstance(generation, Generation)
        return generation

    def close(self) -> None:
        left, self._answers = self._answers, []
        assert not left, f"{len(left)} answers of the script were never asked for; the first is {left[0]!r:.200}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()

    def _next(self, request: GenerationRequest) -> Answer:
        with self._lock:
            self.requests.append(request)
            if self._function is not None:
                return self._function(request)
            assert self._answers, f"The script has no answer for call {len(self.requests)}, which ends with {request.messages[-1].content!r:.200}"
            return self._answers.pop(0)


def _message(answer: str | dict[str, Any] | Message) -> Message:
    if isinstance(answer, Message):
        return answer
    if isinstance(answer, str):
        return Message(role="assistant", content=answer)
    calls = tuple(ToolCall(id=f"call_{i}", name=name, arguments=arguments) for i, (name, arguments) in enumerate(answer.items()))
    return Message(role="assistant", tool_calls=calls)
