"""The seam between pre-training and what is learnt: an objective turns a split of the shards into steps, and scores a model on another."""

import math
from typing import Any, Protocol

from noria.data import ShardSplit
from noria.errors import ConfigError
from noria.model import DENOISE_TOKENS, ENCODER_TOKENS, Tokenizer
from noria.train.causal import Causal
from noria.train.compiled import compiles
from noria.train.denoise import Denoise, DenoiseIds
from noria.train.masked import EncoderIds, Masked
from noria.train.pretrain_config import PretrainConfig
from noria.train.run import Steps

SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "…")


NEEDED = {"mlm-nsp": ("[CLS]", "[SEP]", "[MASK]"), "denoise": tuple(token for token in DENOISE_TOKENS if token.startswith("<extra_id_"))}
"""Special tokens that an objective puts into its rows."""


class PretrainObjective(Protocol):
    """What a base model learns from text. Losses are sums; `score` gives means, of which `loss` decides what is best."""

    def steps(self, split: ShardSplit, /) -> Steps: ...

    def score(self, model: Any, split: ShardSplit, max_tokens: int, /) -> dict[str, float]: ...

    def check(self, held_out: ShardSplit, /) -> None:
        """Refuse a split that cannot be scored, before hours are lost. Raises DataError."""
        ...


def make_objective(config: PretrainConfig, tokenizer: Tokenizer, context: int, batch_tokens: int, num_processes: int = 1) -> PretrainObjective:
    """The objective that the settings name.

    Args:
        num_processes: how many share a step; each gets an equal part of it.

    Raises:
        ConfigError: the settings contradict one another.
    """
    rows = max(num_processes, batch_tokens // context)
    micro_rows = max(1, min(math.ceil(rows / num_processes), config.micro_batch_tokens // context))
    if config.shard and rows % (micro_rows * num_processes):
        part = micro_rows * num_processes * context
        raise ConfigError(f"The parts of a model compute in step: set `batch_tokens` to a multiple of {part}, not {rows * context}.")
    if config.objective == "mlm-nsp":
        return Masked(_encoder_ids(tokenizer), config.mask_rate, sentence_weight(config), context, rows, micro_rows, config.seed)
    if config.objective == "denoise":
        sentinels = [tokenizer.special_id(token) for token in NEEDED["denoise"]]
        ids = DenoiseIds(end=tokenizer.eos_id, pad=tokenizer.pad_id, sentinels=sentinels)
        return Denoise(ids, config.noise, config.span, context, rows, micro_rows, config.seed)
    assert tokenizer.bos_id is not None  # `check_tokens`
    return Causal(tokenizer.bos_id, context, rows, micro_rows, config.seed, compiles(config.compile, config.minutes))


def check_tokens(objective: str, tokenizer: Tokenizer, name: str) -> None:
    """Refuse a tokenizer without the special tokens of an objective. Raises ConfigError."""
    missing = next((token for token in NEEDED.get(objective, ()) if tokenizer.token_id(token) is None), None)
    if objective == "clm" and tokenizer.bos_id is None:
        missing = "that begins a document (`bos_token`)"
    if missing is not None:
        raise ConfigError(f"The tokenizer '{name}' has no token {missing}, which {objective} needs. Leave `--tokenizer` out, or name one that has.")


def sentence_weight(config: PretrainConfig) -> float:
    """Lambda of next-sentence prediction: as set, else 1 for BERT and 0 for ModernBERT, which has no head for it. Raises ConfigError."""
    modern = config.architecture == "modernbert"
    if modern and config.sentence_weight:
        raise ConfigError("ModernBERT does not predict next sentences: leave `sentence_weight` out, or take `architecture=bert`.")
    return config.sentence_weight if config.sentence_weight is not None else 0.0 if modern else 1.0


def freeze_unused(model: Any, config: PretrainConfig) -> None:
    """Leave a head that the objective does not use as it is: without a gradient it would decay in several processes, and in one not."""
    if model.config.model_type == "bert" and not sentence_weight(config):
        for module in (model.bert.pooler, model.cls.seq_relationship):
            module.requires_grad_(False)


def _encoder_ids(tokenizer: Tokenizer) -> EncoderIds:
    ends = [tokenizer.encode(mark) for mark in SENTENCE_ENDS]
    return EncoderIds(
        begin=tokenizer.special_id("[CLS]"),
        end=tokenizer.special_id("[SEP]"),
        mask=tokenizer.special_id("[MASK]"),
        first_plain=len(ENCODER_TOKENS),
        vocab_size=tokenizer.vocab_size,
        sentence_ends=frozenset(ids[0] for ids in ends if len(ids) == 1),
    )
