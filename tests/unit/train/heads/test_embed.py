"""Sentence embedding: the loss is its formula, every row is in a batch with others, and copies of a positive are no negatives."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from noria.data import EmbedExample
from noria.engine.heads import Wrap
from noria.errors import NoriaError
from noria.model import Tokenizer, train_tokenizer
from noria.train.heads.embed import TEMPERATURE, Embed, RowSteps, check_pairs


class Table:
    """A model whose last layer is a vector for each token."""

    device = torch.device("cpu")

    def __init__(self, num_tokens: int) -> None:
        self.vectors = torch.randn(num_tokens, 5, generator=torch.Generator().manual_seed(0))

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(last_hidden_state=self.vectors[input_ids])


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return train_tokenizer("wordpiece", ["ab ba aab bba abab"] * 30, 60, "mlm-nsp", at_most=True)


def vector(model: Table, ids: tuple[int, ...]) -> torch.Tensor:
    mean = model.vectors[list(ids)].mean(0)
    return mean / mean.norm()


def test_the_loss_is_its_formula(words: Tokenizer) -> None:
    head, model = Embed(words, Wrap.of(words, 32)), Table(words.vocab_size)
    rows = [EmbedExample(text="ab", positive="ba aab", negatives=("bba",)), EmbedExample(text="aab ab", positive="abab")]
    inputs = head.inputs(rows)
    text, own, other, second, third = (vector(model, one.token_ids) for one in inputs)
    wanted = 0.0
    for asked, right in ((text, own), (second, third)):
        scores = torch.stack([asked @ candidate / TEMPERATURE for candidate in (own, other, third)])
        wanted -= float(asked @ right / TEMPERATURE - scores.logsumexp(0))
    assert float(head.loss(model, inputs).total) == pytest.approx(wanted, rel=1e-4)
    assert head.weight(inputs) == 2


def test_a_copy_of_a_positive_is_no_negative(words: Tokenizer) -> None:
    head, model = Embed(words, Wrap.of(words, 32)), Table(words.vocab_size)
    inputs = head.inputs([EmbedExample(text="ab", positive="ba"), EmbedExample(text="aab", positive="ba")])
    assert float(head.loss(model, inputs).total) == pytest.approx(0.0, abs=1e-6)


def test_another_positive_of_the_same_text_is_no_negative(words: Tokenizer) -> None:
    head, model = Embed(words, Wrap.of(words, 32)), Table(words.vocab_size)
    inputs = head.inputs([EmbedExample(text="ab", positive="ba"), EmbedExample(text="ab", positive="aab")])
    assert float(head.loss(model, inputs).total) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "batch", "told"),
    [
        ([EmbedExample(text="a", positive="x"), EmbedExample(text="b", positive="x")], 8, "has one positive only and no negatives"),
        ([EmbedExample(text="a", positive="x"), EmbedExample(text="b", positive="y")], 1, "`batch` is 1"),
    ],
)
def test_what_tells_nothing_apart_is_refused(rows: list[EmbedExample], batch: int, told: str) -> None:
    with pytest.raises(NoriaError, match=told):
        check_pairs(rows, "train.jsonl", batch)
    check_pairs([rows[0].model_copy(update={"negatives": ("z",)})], "train.jsonl", 1)


def test_every_row_is_in_an_epoch_once_with_all_its_texts(words: Tokenizer) -> None:
    head = Embed(words, Wrap.of(words, 32), before="ab: ")
    rows = [EmbedExample(text="ab " * n, positive="ba") for n in range(1, 10)]
    inputs = head.inputs(rows)
    assert all(len(one.token_ids) > 3 for one in inputs), "the text before stands there"
    steps = RowSteps(head, inputs, 4, seed=0)
    assert steps.per_epoch == 2
    seen = [one.row for number in range(2) for micro in steps.step(number).micro_batches for one in micro.items]
    assert sorted(seen) == sorted([*range(9), *range(9)])
    assert {steps.step(number).weight for number in range(2)} == {4, 5}
