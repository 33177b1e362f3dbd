"""Heads and their models, made for a task from a base model."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError

from noria.data import ClassifyExample, EmbedExample, Example, ScoreExample, TagExample
from noria.data.examples import HeadTask
from noria.data.tag_schemes import scheme_of
from noria.engine.heads import HeadFile, Wrap
from noria.engine.heads.embedder import text_before
from noria.errors import ConfigError, ModelError
from noria.model import BaseModel, load_tokenizer, plain_checkpoint, read_config
from noria.train.dropout import use_dropout
from noria.train.heads.answer import Answer
from noria.train.heads.classify import Classify, balanced, labels_of
from noria.train.heads.embed import Embed, check_pairs
from noria.train.heads.head import Head
from noria.train.heads.pooling import add_mean_layer, pools_by_mean
from noria.train.heads.score import Score, center_and_spread
from noria.train.heads.tag import TRANSITIONS_NAME, Tag
from noria.train.task_config import TaskConfig

MOST_TOKENS = 512
"""Longest input where none is set: what most texts of these tasks fit in."""
_INTO_RESIDUAL = ("hidden_dropout_prob", "hidden_dropout", "dropout", "resid_pdrop", "resid_dropout", "mlp_dropout")
_IN_ATTENTION = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")
"""What architectures call their dropout."""
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)


def head_file(head: Head) -> HeadFile:
    """What a prediction needs beside the model."""
    common: dict[str, Any] = {name: getattr(head, name) for name in ("task", "with_kinds", "precision")}
    common |= {"num_positions": head.wrap.num_positions, "between": head.wrap.between}
    if isinstance(head, Classify):
        return HeadFile(**common, labels=head.labels, several=head.several, threshold=head.threshold)
    if isinstance(head, Embed):
        return HeadFile(**common, before=head.before)
    if isinstance(head, Score):
        return HeadFile(**common, center=head.center, spread=head.spread)
    if isinstance(head, Tag):
        return HeadFile(**common, labels=head.tags, scheme=head.scheme, crf=head.crf, stride=head.stride)
    assert isinstance(head, Answer)
    return HeadFile(**common, stride=head.stride, none_margin=head.none_margin)


def head_of(config: TaskConfig, task: str, base: BaseModel, train: tuple[Path, Sequence[Example]]) -> Head:
    """The head for a task's file, with its rows, on a base model. Raises ConfigError, DataError."""
    if task not in get_args(HeadTask):
        raise ConfigError(f"No head is made for the task {task!r}; allowed: {', '.join(get_args(HeadTask))}.")
    head = _head_of(config, task, base, *train)
    head.precision = config.precision
    return head


def _head_of(config: TaskConfig, task: str, base: BaseModel, path: Path, rows: Sequence[Example]) -> Head:
    tokenizer = load_tokenizer(base.path)
    folder = plain_checkpoint(base)
    settings = read_config(folder)
    readable = num_positions(settings)
    if config.max_tokens is not None and config.max_tokens > readable:
        raise ConfigError(f"`max_tokens` is {config.max_tokens}, but '{base.name}' reads {readable} tokens. Give {readable} or less.")
    positions = min(readable, config.max_tokens or MOST_TOKENS)
    with_kinds = getattr(settings, "type_vocab_size", 0) > 1
    wrap = Wrap.as_trained(tokenizer, positions)
    if task == "classify":
        typed = cast(Sequence[ClassifyExample], rows)
        labels, several = labels_of(typed, path)
        weights = balanced((row.label for row in typed), labels) if config.class_weights == "balanced" and not several else ()
        return Classify(tokenizer, wrap, labels, several, config.label_smoothing, weights, with_kinds)
    if task == "embed":
        if getattr(settings, "is_encoder_decoder", False):
            raise ModelError(f"'{base.name}' is an encoder with a decoder, which gives no vector of a text. Name an encoder with `--base`.")
        check_pairs(cast(Sequence[EmbedExample], rows), path, config.batch)
        return Embed(tokenizer, wrap, text_before(folder), with_kinds)
    if task == "score":
        return Score(tokenizer, wrap, *center_and_spread(cast(Sequence[ScoreExample], rows), path), with_kinds)
    if task == "tag":
        known = [tag for row in cast(Sequence[TagExample], rows) for tag in row.tags or ()]
        used = sorted({*known, "O"})
        weights = balanced(known, used) if config.class_weights == "balanced" else ()
        return Tag(tokenizer, wrap, used, scheme_of(used), config.crf, config.stride, with_kinds, config.label_smoothing, weights)
    return Answer(tokenizer, wrap, config.stride, with_kinds=with_kinds)


def new_model(config: TaskConfig, head: Head, base: BaseModel) -> Any:
    """The base with the head's new layers, drawn by the seed. Raises ModelError where the base cannot have such a head."""
    import transformers

    folder = plain_checkpoint(base)
    auto: Any = getattr(transformers, head.auto_class)
    settings = read_config(folder, **head.settings())
    for name in (*_INTO_RESIDUAL, *_IN_ATTENTION):
        if config.dropout is not None and hasattr(settings, name):
            setattr(settings, name, config.dropout)
    if config.bidirectional:
        settings.is_causal = False  # stands in the folder's configuration: it is read so wherever it is loaded
    torch.manual_seed(config.seed)
    transformers.logging.set_verbosity_error()  # new layers are what was asked for, not a warning
    transformers.logging.disable_progress_bar()
    try:
        model = auto.from_pretrained(str(folder), config=settings, dtype=torch.float32, local_files_only=True)
    except _UNREADABLE as error:
        raise ModelError(f"The model in '{folder}' cannot serve the task {head.task!r}: {error!s:.300}. Name another `--base`.") from error
    model.config.pad_token_id = head.tokenizer.pad_id
    if config.bidirectional and not reads_ahead(model):
        raise ModelError(f"'{base.name}' reads from left to right and cannot be told otherwise. Leave `bidirectional` out.")
    if isinstance(head, Answer) and not reads_ahead(model):
        raise ModelError(
            f"'{base.name}' reads from left to right, and the first token, which stands for \"no answer\", would see nothing else. "
            "Set `bidirectional=true`, or name an encoder with `--base`."
        )
    if config.dropout and not any(hasattr(settings, name) for name in _INTO_RESIDUAL):
        use_dropout(model, config.dropout)
    if model.config.model_type == "bert" and pools_by_mean(folder) and isinstance(head, Classify | Score):
        add_mean_layer(model)
    if isinstance(head, Tag) and head.crf:
        model.add_module(TRANSITIONS_NAME, head.transitions)
    return model


@torch.no_grad()
def reads_ahead(model: Any) -> bool:
    """Whether the first token's state depends on the second, as it does in the encoder of an encoder with a decoder."""
    if model.config.is_encoder_decoder:
        return True
    model.eval()
    one, other = (model.base_model(input_ids=torch.tensor([[1, second]])).last_hidden_state[0, 0] for second in (2, 3))
    return not torch.equal(one, other)


def can_turn(config: TaskConfig, head: Head, base: BaseModel) -> bool:
    """Whether the base reads from left to right, and in both directions where it is told to."""
    if reads_ahead(new_model(config.model_copy(update={"bidirectional": False}), head, base)):
        return False
    try:
        new_model(config.model_copy(update={"bidirectional": True}), head, base)
    except ModelError:
        return False
    return True


def num_positions(settings: Any) -> int:
    """The longest input that a model of this configuration reads, in tokens."""
    behind = settings.pad_token_id + 1 if _numbered_behind_padding(settings) else 0
    return -behind + int(getattr(settings, "max_position_embeddings", None) or getattr(settings, "n_positions", None) or MOST_TOKENS)


def _numbered_behind_padding(settings: Any) -> bool:
    """Whether the first position has the number behind the padding's, as RoBERTa's has and those that took its embeddings over with its function."""
    from transformers import MODEL_MAPPING

    if type(settings) not in MODEL_MAPPING:
        return False
    kinds: Any = MODEL_MAPPING[type(settings)]
    module = sys.modules[(kinds[0] if isinstance(kinds, tuple) else kinds).__module__]
    return any(hasattr(one, "create_position_ids_from_input_ids") for one in (module, *vars(module).values()))
