"""`[engine]` of noria.toml: what generates, and within which limits."""

from typing import Literal, Self

from pydantic import Field, model_validator

from noria.config import Section

EngineKind = Literal["openvino", "transformers", "remote"]


class EngineConfig(Section):
    """Which engine answers and what it may use."""

    kind: EngineKind = "openvino"
    """openvino (in a process of its own, on CPU), transformers (any torch device) or remote (an OpenAI-compatible URL)."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of a local engine; unset is one a core."""
    device: str = "CPU"
    """Device of a local engine: CPU or GPU for openvino; cpu, cuda, mps for transformers."""
    cache_gb: int = Field(default=1, ge=1)
    """Memory for the keys and values of conversations in the openvino engine, in gigabytes."""
    cache_precision: Literal["f32", "f16", "bf16", "u8"] = "f32"
    """How keys and values are kept; with f32 an answer does not depend on what else is being answered. bf16 computes in bf16, too:
    about twice the tokens a second for many chats on a processor that has it."""
    max_concurrent: int = Field(default=32, ge=1)
    """Requests answered at the same time; more wait."""
    max_batched_tokens: int = Field(default=512, ge=16)
    """Tokens computed in one step: larger reads prompts faster, smaller keeps streams smoother."""
    context_tokens: int | None = Field(default=None, ge=64)
    """Tokens of prompt and answer together; unset is what the model was made for."""
    url: str | None = None
    """Base URL of a remote engine, such as http://localhost:8000/v1."""
    model: str | None = None
    """Model name sent to a remote engine."""
    api_key_env: str | None = None
    """Environment variable that holds the remote engine's key."""
    timeout_seconds: float = Field(default=120.0, gt=0)
    """How long a remote engine may be silent."""
    max_retries: int = Field(default=4, ge=0)
    """How often a remote request is tried again before its first token."""

    @model_validator(mode="after")
    def _remote_is_complete(self) -> Self:
        if self.kind == "remote" and not (self.url and self.model):
            raise ValueError("kind 'remote' needs `url` and `model`")
        return self
