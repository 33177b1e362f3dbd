"""What all local engines share: checking a request, turning tokens into text with stop strings, and the finished record.

In: the token ids and log-probabilities an engine samples, as they come. Out: deltas, and one `Generation`.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Literal

from noria.engine.grammar import decision_grammar, schema_grammar
from noria.errors import ContextOverflowError, DataError
from noria.model import IncrementalDecoder, Renderer
from noria.schema import Delta, Generation, GenerationRequest


def prompt_of(request: GenerationRequest, renderer: Renderer, context_tokens: int) -> list[int]:
    """The request's prompt.

    Raises:
        DataError: settings that contradict each other or make no sense.
        ContextOverflowError: prompt and answer do not fit.
    """
    check_settings(request)
    prompt = renderer.prompt(request.messages, request.tools)
    if len(prompt) + request.max_tokens > context_tokens:
        raise ContextOverflowError(len(prompt), request.max_tokens, context_tokens)
    return prompt


def generation_of(stream: Iterator[Delta | Generation]) -> Generation:
    """Run a stream to its end."""
    *_, last = stream
    assert isinstance(last, Generation)
    return last


def check_settings(request: GenerationRequest) -> None:
    if not request.messages:
        raise DataError("`messages` is empty; give at least one message.")
    if request.max_tokens < 1:
        raise DataError(f"`max_tokens` is {request.max_tokens}; it must be at least 1.")
    if not 0 <= request.temperature <= 2:
        raise DataError(f"`temperature` is {request.temperature}; it must be between 0 and 2.")
    if not 0 < request.top_p <= 1:
        raise DataError(f"`top_p` is {request.top_p}; it must be above 0 and at most 1.")
    if request.response_schema is not None and request.tools:
        raise DataError("`response_schema` and `tools` exclude each other; send one of them.")
    if any(not stop for stop in request.stop):
        raise DataError("`stop` holds an empty string; leave it out.")


def grammar_of(request: GenerationRequest, renderer: Renderer) -> str | None:
    """The grammar that binds the answer, or None if it is free."""
    if request.response_schema is not None:
        return schema_grammar(request.response_schema)
    if request.tools:
        return decision_grammar(request.tools, request.tool_choice, renderer.call_format)
    return None


class Answer:
    """An answer in the making.

    `push` takes sampled tokens and returns the deltas that became certain; after a stop string `stopped` is true and the engine may be told
    to end. `finish` returns the last delta, if any text was held back, and `generation` the record.
    """

    def __init__(self, request: GenerationRequest, renderer: Renderer, prompt: list[int]) -> None:
        self._request = request
        self._renderer = renderer
        self._prompt = prompt
        self._decoder = IncrementalDecoder(renderer.tokenizer)
        self._held = ""  # may be the beginning of a stop string
        self._held_ids: list[int] = []
        self._texts: list[str] = []
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self._began = time.perf_counter()
        self._first_token_seconds = 0.0
        self.stopped = False

    def push(self, token_ids: Sequence[int], logprobs: Sequence[float]) -> list[Delta]:
        deltas: list[Delta] = []
        for token_id, logprob in zip(token_ids, logprobs, strict=True):
            if self.stopped:
                break
            if not self._token_ids:
                self._first_token_seconds = time.perf_counter() - self._began
            self._token_ids.append(token_id)
            self._logprobs.append(logprob)
            self._held_ids.append(token_id)
            self._held += self._decoder.push([token_id])
            deltas += self._release()
        return deltas

    def finish(self) -> list[Delta]:
        """The text that was held back and now is certain."""
        if self.stopped:
            return []
        self._held += self._decoder.flush()
        return self._release(last=True)

    def generation(self, finish: Literal["stop", "length"]) -> Generation:
        text = "".join(self._texts)
        message = self._renderer.parse(text, self._request.tools)
        return Generation(
            message=message,
            text=text,
            finish_reason="tool_calls" if message.tool_calls and finish == "stop" else finish,
            prompt_token_ids=tuple(self._prompt),
            token_ids=tuple(self._token_ids),
            logprobs=tuple(self._logprobs),
            num_prompt_tokens=len(self._prompt),
            num_completion_tokens=len(self._token_ids),
            first_token_seconds=self._first_token_seconds,
            seconds=time.perf_counter() - self._began,
        )

    def _release(self, last: bool = False) -> list[Delta]:
        cuts = [at for stop in self._request.stop if (at := self._held.find(stop)) >= 0]
        if cuts:
            self.stopped = True
            text = self._held[: min(cuts)]
        else:
            text = self._held if last else self._held[: len(self._held) - self._held_back()]
        if not text:
            return []
        self._held = self._held[len(text) :]
        self._texts.append(text)
        token_ids, self._held_ids = tuple(self._held_ids), []
        return [Delta(text=text, token_ids=token_ids)]

    def _held_back(self) -> int:
        """Length of the longest end of the held text that a stop string begins with."""
        longest = max((len(stop) for stop in self._request.stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._request.stop):
                return length
        return 0
