"""Settings of `noria tune` for tasks with a head; what is left out follows from the data, the base model and the time."""

from typing import Literal

from pydantic import Field

from noria.config import MOST_MINUTES, Section
from noria.model.precision import Precision

TaskMethod = Literal["full", "lora", "dora", "head", "contrast"]
LEARNING_RATES: dict[TaskMethod, float] = {"full": 1e-4, "lora": 1e-3, "dora": 1e-3, "head": 1e-2, "contrast": 5e-5}
"""Peak rates for 20 million weights that learn; that of `full` falls with the fourth root of their number."""


class TaskConfig(Section):
    """What `--set` sets."""

    method: TaskMethod = "full"
    """Which weights learn: all (full), low-rank adapters (lora; dora with their magnitude apart), the head alone (head), or the encoder by
    contrasts and then the head (contrast; taken by itself where examples are few)."""
    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Peak rate of AdamW; derived from the method and the number of weights that learn when left out."""
    label_names: bool = True
    """Whether the names of labels are learnt too, each as a text of its label, by the methods head and contrast (classify)."""
    fit_first: bool = True
    """Whether a classifier's last layer starts fitted to the base's features, or drawn by the seed (classify)."""
    head_rate: float = Field(default=5.0, gt=0)
    """How many times the rate the new layers learn at."""
    batch: int = Field(default=32, ge=1)
    """Inputs of one step."""
    micro_batch_tokens: int = Field(default=4096, ge=16)
    """Tokens that go through the model at once, padding included; bounds memory. Contrasts (also of embed) keep those of a whole batch."""
    max_tokens: int | None = Field(default=None, ge=8)
    """Longest input; None: what the model reads, 512 at most. Longer texts are cut and counted, or read in windows (tag, answer)."""
    stride: int = Field(default=64, ge=0)
    """Tokens that windows of a longer text share; half a window at most."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the data; None: as many as make some 2,000 steps, from 3 to 40."""
    minutes: float | None = Field(default=None, gt=0, le=MOST_MINUTES)
    """Time for all of it; fewer steps and validations are made where they do not fit."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps in which the rate rises; it then falls linearly to a twentieth."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled decay of AdamW on matrices."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Share of what layers give on that is left out; None: the model's own."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread over all labels (classify; tag without `crf`); of several labels, over yes and no."""
    out_of_scope: bool | None = None
    """Whether a text may have none of the labels; None: where only the evaluation file has rows labelled `out_of_scope` (classify)."""
    class_weights: Literal["balanced"] | None = None
    """balanced: every label counts alike in sum, however many rows it has (classify, one label a row; tag without `crf`)."""
    crf: bool = True
    """Whether transitions between tags are learnt (tag)."""
    rank: int = Field(default=16, ge=1, le=512)
    """Rank of the adapters; their scale is twice the rank."""
    bidirectional: bool = False
    """Whether a decoder reads every text in both directions instead of from left to right, as taggers and classifiers may."""
    top_layers: int | None = Field(default=None, ge=1)
    """How many of the last layers learn beside the head; None: all."""
    embeddings: bool | None = None
    """Whether token embeddings learn, by the method full; None: where they are less than half of all weights."""
    gradual: bool = False
    """Let the layers learn one after the other from the last on, in the first half of the run (Howard and Ruder 2018)."""
    patience: int | None = Field(default=None, ge=1)
    """Validations without a better score after which the run ends; None: never early."""
    num_validations: int = Field(default=10, ge=1)
    """How often the evaluation file is scored; the weights of the best score stay."""
    num_best: int = Field(default=1, ge=1)
    """Of so many of the best validated weights the mean is tried at the end, and kept where it scores better."""
    average: float | None = Field(default=None, gt=0, lt=1)
    """Memory of an average of the weights that is scored and kept instead of them."""
    precision: Precision | None = None
    """Precision of the matrix products, in training and afterwards; None takes bfloat16 where the processor has it."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; None takes all cores."""
    seed: int = 0
    """Order of the data and start of the new layers."""


def default_rate(method: TaskMethod, num_learning: int) -> float:
    """The peak rate of a method by which so many weights learn."""
    return LEARNING_RATES[method] * (min(1.0, (2e7 / num_learning) ** 0.25) if method == "full" else 1.0)
