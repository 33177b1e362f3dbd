"""The seam to whatever generates text: an in-process engine, transformers, or a remote server."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from noria.schema.messages import Message, Record, ToolSpec

FinishReason = Literal["stop", "length", "tool_calls", "cancelled"]


class GenerationRequest(Record):
    """What to generate. With `tools` the answer is one decision: a tool call, or a reply (`tool_choice` narrows it)."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Literal["auto", "required", "none"] = "auto"
    response_schema: dict[str, Any] | None = None
    """JSON Schema the whole answer must satisfy; excludes `tools`."""
    max_tokens: int = 256
    temperature: float = 0.0
    """0 is greedy: the same request gives the same tokens."""
    top_p: float = 1.0
    seed: int | None = None
    """With a temperature: the same request with the same seed gives the same tokens, whatever else runs. None is any, and quicker."""
    stop: tuple[str, ...] = ()
    """Strings at which the answer ends; they are not part of it."""


class Delta(Record):
    """A piece of the answer as it is made. Joined, the texts of all deltas are `Generation.text`."""

    text: str
    token_ids: tuple[int, ...] = ()


class Generation(Record):
    """A finished answer. Token ids and log-probabilities are empty with a remote engine that does not tell them."""

    message: Message
    text: str
    """The answer as generated, before it was parsed into `message`."""
    finish_reason: FinishReason
    prompt_token_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Natural-log probability of each sampled token, as long as `token_ids`."""
    num_prompt_tokens: int
    num_completion_tokens: int
    first_token_seconds: float
    seconds: float


@runtime_checkable
class Generator(Protocol):
    """Generates one answer for a request; thread-safe: calls from many threads run as one batch where the engine can."""

    @property
    def name(self) -> str: ...

    @property
    def context_tokens(self) -> int: ...

    def count_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        """Tokens the prompt would take (exact for local engines, an upper estimate for remote ones)."""
        ...

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        """Yield deltas, then exactly one `Generation`. Closing the iterator cancels the work.

        Raises:
            ContextOverflowError: prompt and `max_tokens` do not fit; nothing is ever cut silently.
            ModelError: the engine failed.
        """
        ...

    def generate(self, request: GenerationRequest) -> Generation: ...

    def close(self) -> None: ...
