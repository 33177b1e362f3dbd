"""Settings of a pre-training run. What is left out is derived from the time or the size asked for (`noria.train.dial`)."""

from typing import Literal

from pydantic import Field

from noria.config import MOST_MINUTES, Section
from noria.model import Architecture, ObjectiveName, TokenizerKind

Schedule = Literal["trapezoid", "cosine", "linear"]


class PretrainConfig(Section):
    """Everything that `--set name=value` names."""

    objective: ObjectiveName = "clm"
    """What is learnt: clm (predict the next token), mlm-nsp (fill masks, tell whether a passage follows), denoise (restore spans)."""
    architecture: Architecture | None = None
    """Which model: llama or gpt2 (clm), bert or modernbert (mlm-nsp), t5 (denoise). None: the first of these."""
    minutes: float | None = Field(default=None, gt=0, le=MOST_MINUTES)
    """Time for everything, tokenizer included."""
    size: int | None = Field(default=None, ge=1000)
    """Parameters, about: the shape nearest to it is taken. None: what the time allows best."""
    tokenizer: TokenizerKind | None = None
    """Kind of a new tokenizer: bpe, wordpiece, unigram, characters. None: bpe over bytes, to which no character is unknown."""
    vocab_size: int | None = Field(default=None, ge=8, le=1 << 20)
    """Tokens of the vocabulary; when left out, as many as the corpus supports and the model makes use of."""
    width: int | None = Field(default=None, ge=8)
    """Width of the residual stream."""
    layers: int | None = Field(default=None, ge=1)
    """Number of layers."""
    heads: int | None = Field(default=None, ge=1)
    """Attention heads; beside `width` or `layers`."""
    context: int | None = Field(default=None, ge=8)
    """Tokens of a block: the longest text that the model is trained to read. None: 512, of an encoder 128, or less where documents are short."""
    batch_tokens: int | None = Field(default=None, ge=16)
    """Tokens of one optimizer step."""
    micro_batch_tokens: int = Field(default=4096, ge=16)
    """Tokens that go through the model at once; bounds memory."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; derived from the time when left out."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """muon: for matrices inside the layers, AdamW for the rest; adamw: for everything."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Peak rate of AdamW; derived from the width when left out."""
    muon_rate: float | None = Field(default=None, gt=0, le=1)
    """Peak rate of Muon, whose updates are scaled to AdamW's; when left out, AdamW's, four times as much where masks are filled."""
    beta2: float = Field(default=0.95, gt=0, lt=1)
    """Memory of AdamW's second moment."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled decay of matrices."""
    schedule: Schedule = "trapezoid"
    """How the rate moves: trapezoid (rises, stays, falls in the last share `cooldown`), cosine, linear."""
    warmup: float = Field(default=0.02, ge=0, lt=1)
    """Share of the steps in which the rate rises."""
    cooldown: float = Field(default=0.4, gt=0, le=1)
    """Share of the steps in which a trapezoid falls, to nothing."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""
    mask_rate: float = Field(default=0.3, gt=0, lt=1)
    """Share of the tokens that mlm-nsp predicts; BERT's was 0.15, ModernBERT's is 0.3."""
    sentence_weight: float | None = Field(default=None, ge=0)
    """Weight of next-sentence prediction beside a masked token (lambda); None: 1 for bert, 0 for modernbert."""
    noise: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that denoise takes out."""
    span: float = Field(default=3.0, ge=1)
    """Tokens of a span that denoise takes out, on average."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of what each layer adds that is left out, on a processor to the nearest 1/256; worth setting where the corpus is seen many times."""
    average: float | None = Field(default=None, gt=0, lt=1)
    """Memory of the exponential average of the weights, which is then what is validated and kept; None: no average."""
    compile: bool | None = None
    """Compile the layers of a llama, GPT-2 or BERT (`torch.compile`); None: in runs of a quarter of an hour or more, with a C++ compiler."""
    shard: bool = False
    """Part a decoder's weights over the processes instead of holding all of them in each; with `optimizer=adamw`."""
    checkpoint_activations: bool = False
    """Compute activations again on the way back instead of keeping them: a third more work, a fraction of the memory."""
    spike: float | None = Field(default=8.0, gt=0)
    """A loss so many standard deviations above its mean takes the run back to the last checkpoint."""
    validation_share: float = Field(default=0.01, gt=0, lt=0.5)
    """Share of the documents held out, where the corpus brings no split of its own."""
    validation_tokens: int = Field(default=65_536, ge=64)
    """Tokens that a validation scores at most, except the last one. Few `minutes` make it fewer where this is not set, and the last one always."""
    num_validations: int = Field(default=20, ge=1)
    """Validations over the run."""
    num_checkpoints: int = Field(default=2, ge=1)
    """How many of the last checkpoints stay; the best weights stay besides."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Precision of the matrix products; None takes bfloat16 where the processor has it."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; None takes all cores. Results are bit-equal only at an equal number of threads."""
    seed: int = 0
    """Weights at the start, order of the data."""
