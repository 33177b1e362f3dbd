"""Settings of a tuning run; most are derived from the method and the machine when left out."""

from typing import Literal

from pydantic import Field

from noria.config import MOST_MINUTES, Section

Method = Literal["lora", "dora", "full", "prompt"]
LEARNING_RATES: dict[str, float] = {"lora": 1e-3, "dora": 1e-3, "full": 2e-4, "prompt": 1e-2}


class TuneConfig(Section):
    """`[improve]`'s share of the training loop."""

    method: Method = "lora"
    """Which weights learn: low-rank adapters on every linear layer (lora; dora with the norms of columns apart), all of them (full), or the vectors
    of a prompt before every conversation (prompt; `noria tune` only)."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Peak rate of AdamW; derived from the method when left out (lora and dora 1e-3, full 2e-4, prompt 1e-2)."""
    rank: int = Field(default=16, ge=1, le=512)
    """Rank of the adapters; their scale is twice the rank."""
    prompt_tokens: int = Field(default=20, ge=1, le=512)
    """Vectors of a learnt prompt."""
    top_layers: int | None = Field(default=None, ge=1)
    """How many of the last layers learn; the ones below only compute forward. None: all layers."""
    batch_tokens: int = Field(default=1536, ge=16)
    """Tokens of one optimizer step; examples are packed without padding, so this bounds work, not shape."""
    micro_batch_tokens: int = Field(default=2048, ge=16)
    """Tokens of one forward pass; bounds memory. A larger batch is accumulated from several."""
    max_tokens: int = Field(default=2048, ge=16)
    """Longest example; longer ones are left out and counted, never cut."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the data, if the time allows."""
    minutes: float | None = Field(default=None, gt=0, le=MOST_MINUTES)
    """Time for training; the number of steps is planned from measured throughput. None: all epochs."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises; it then falls linearly to a twentieth."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled decay of AdamW on matrices."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share left out of the embeddings and of what every layer adds, while it learns."""
    num_validations: int = Field(default=5, ge=1)
    """How often what is held out is scored; the best weights are taken."""
    patience: int | None = Field(default=None, ge=1)
    """Validations without a better one after which the run ends; None: it goes on."""
    num_best: int = Field(default=1, ge=1)
    """Of so many of the best validated weights the mean is tried at the end, and taken where it is better."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""
    call_weight: float = Field(default=1.0, gt=0)
    """Weight of a tool call's tokens against a reply's; a reply's first token, which decides that it is no call, weighs as much."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Precision of the matrix products; None takes bfloat16 where the processor has it."""
    compile: bool | None = None
    """Compile the layers of a llama, Mistral or Qwen2 (`torch.compile`; not by dora, not with `top_layers`); None: in runs of two minutes or more
    that compute in bfloat16, where there is a C++ compiler."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; None takes all cores. Results are bit-equal only at an equal number of threads."""
    checkpoint_seconds: float = Field(default=120.0, gt=0)
    """Time between checkpoints, from which a killed run goes on."""
    seed: int = 0
    """Order of the data and start of the adapters."""

    @property
    def peak_rate(self) -> float:
        return self.learning_rate or LEARNING_RATES[self.method]
