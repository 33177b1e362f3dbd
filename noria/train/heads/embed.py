"""Sentence embedding: texts are drawn to what belongs to them, and away from what belongs to the other texts of the batch.

L = -sum_i log( exp(x_i y_i / t) / sum_j exp(x_i y_j / t) ) with the vectors x of the texts and y of all positives and negatives of the batch
(Henderson et al. 2017; van den Oord et al. 2018). A candidate that reads as the row's own positive is no negative, nor is another positive of the
same text.
"""

import json
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from noria.data import EmbedExample
from noria.engine.heads import Embedder, Input
from noria.engine.heads.embedder import POSITIVE, TEXT
from noria.errors import ConfigError, DataError
from noria.store import write_file
from noria.train.heads.head import PART_TOKENS, mean_vectors, of_like_length, padded
from noria.train.objective import Loss
from noria.train.run import MicroBatch, Step

TEMPERATURE = 0.05


class Embed(Embedder):
    """The head."""

    def settings(self) -> dict[str, Any]:
        return {}

    def weight(self, inputs: Sequence[Input]) -> float:
        return float(len({one.row for one in inputs}))

    def loss(self, model: Any, inputs: Sequence[Input]) -> Loss:
        """Of whole rows: every text with its positive, and its negatives if it has some."""
        vectors = of_like_length(inputs, partial(self._vectors, model), PART_TOKENS)
        with torch.autocast(vectors.device.type, enabled=False):  # similarities are divided by a small temperature: they must be exact
            asked = [place for place, one in enumerate(inputs) if one.target == TEXT]
            given = [place for place, one in enumerate(inputs) if one.target != TEXT]
            own = {inputs[place].row: index for index, place in enumerate(given) if inputs[place].target == POSITIVE}
            targets = torch.tensor([own[inputs[place].row] for place in asked], device=vectors.device)
            scores = vectors[asked] @ vectors[given].T / TEMPERATURE
            return Loss(total=functional.cross_entropy(scores.masked_fill(_alike(inputs, given, targets), float("-inf")), targets, reduction="sum"))

    def _vectors(self, model: Any, inputs: Sequence[Input]) -> torch.Tensor:
        batch = padded(inputs, self.tokenizer.pad_id, model.device, self.with_kinds)
        hidden = model(**batch).last_hidden_state.float()
        with torch.autocast(hidden.device.type, enabled=False):
            return mean_vectors(hidden, batch["attention_mask"])


def _alike(inputs: Sequence[Input], given: Sequence[int], targets: torch.Tensor) -> torch.Tensor:
    """Where a candidate is another copy of a text's own positive, or a positive of an equal text: (texts, candidates)."""
    ids: dict[tuple[int, ...], int] = {}
    texts = {one.row: ids.setdefault(one.token_ids, len(ids)) for one in inputs if one.target == TEXT}
    numbers = torch.tensor([ids.setdefault(inputs[place].token_ids, len(ids)) for place in given], device=targets.device)
    belongs = torch.tensor([texts[inputs[place].row] if inputs[place].target == POSITIVE else -1 for place in given], device=targets.device)
    alike = (numbers[targets][:, None] == numbers[None]) | (belongs[targets][:, None] == belongs[None])
    alike[torch.arange(len(targets)), targets] = False
    return alike


class RowSteps:
    """Steps of about `batch` rows with all their texts, which go through the model together: each is a negative to the others."""

    def __init__(self, head: Embed, inputs: Sequence[Input], batch: int, seed: int) -> None:
        rows: dict[int, list[Input]] = {}
        for one in inputs:
            rows.setdefault(one.row, []).append(one)
        self._head, self._rows, self._seed = head, list(rows.values()), seed
        self.per_epoch = max(1, len(self._rows) // batch)
        self._epoch: tuple[int, list[int]] | None = None

    def step(self, number: int) -> Step:
        epoch, at = divmod(number, self.per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, random.Random(f"{self._seed}/{epoch}").sample(range(len(self._rows)), len(self._rows))
        begin, end = (len(self._rows) * place // self.per_epoch for place in (at, at + 1))
        rows = self._epoch[1][begin:end]
        chosen = [one for row in rows for one in self._rows[row]]
        num_tokens = sum(len(one.token_ids) for one in chosen)
        return Step(micro_batches=[MicroBatch(self._head.loss, chosen)], weight=self._head.weight(chosen), num_tokens=num_tokens)


def check_pairs(rows: Sequence[EmbedExample], path: object, batch: int) -> None:
    """Refuse what nothing can be learnt from: a text is told apart from others by them. Raises DataError, ConfigError."""
    if any(row.negatives for row in rows):
        return
    if len({row.positive for row in rows}) < 2:
        raise DataError(f"'{path}' has one positive only and no negatives: there is nothing to tell apart. Add rows with other positives.")
    if batch < 2:
        raise ConfigError("`batch` is 1, but a text learns from the others of its batch. Give 2 or more.")


def write_modules(head: Embed, width: int, folder: Path) -> None:
    """What sentence-transformers reads beside the model: mean of the tokens, length one, the text before. Raises StoreError."""
    kinds = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [{"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"} for n, (kind, path) in enumerate(kinds)]
    files: dict[str, Any] = {
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": head.wrap.num_positions, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"text": head.before}, "default_prompt_name": "text"} if head.before else {},
    }
    (folder / "2_Normalize").mkdir(exist_ok=True)
    for name, value in files.items():
        write_file(folder / name, [json.dumps(value, indent=1, ensure_ascii=False) + "\n"])
