"""The contrastive loss is its formula; names of labels are texts where they are words."""

import math
from collections import Counter

import pytest
import torch

from noria.engine.heads import Input
from noria.train.heads.classify import named
from noria.train.heads.contrast import MOST_TOKENS, ContrastSteps, contrastive_loss


def test_the_loss_is_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 3, generator=generator)
    labels = torch.tensor([0, 0, 1, 1, 2])
    z = features / features.norm(dim=1, keepdim=True)
    terms = []
    for i in range(4):  # the fifth has no other of its label
        others = [a for a in range(5) if a != i]
        total = sum(math.exp(float(z[i] @ z[a]) / 0.1) for a in others)
        alike = [a for a in others if labels[a] == labels[i]]
        terms.append(-sum(float(z[i] @ z[p]) / 0.1 - math.log(total) for p in alike) / len(alike))
    assert float(contrastive_loss(features, labels, 0.1)) == pytest.approx(sum(terms) / 4, rel=1e-5)


def test_texts_of_one_label_alone_are_no_loss_of_infinity() -> None:
    assert torch.isfinite(contrastive_loss(torch.randn(3, 4), torch.tensor([0, 1, 2])))


def test_names_that_are_words_are_texts() -> None:
    assert [(row.text, row.label) for row in named(["lost_card", "17", "退款", "A"])] == [("lost card", "lost_card"), ("退款", "退款")]


@pytest.mark.parametrize(
    ("num_labels", "rows", "tokens", "expected"),
    [
        (77, 10, 12, {2: 32}),
        (15, 10, 12, {4: 15}),
        (2, 20, 12, {20: 2}),
        (2, 100, 12, {32: 2}),
        (3, 1, 12, {2: 3}),
        (2, 100, 1000, {4: 1, 6: 1}),
        (40, 20, 512, {2: 9}),
        (2, 20, 9000, {2: 2}),
    ],
    ids=["many labels", "some", "few rows", "many rows", "one row each", "long texts", "long texts of many labels", "texts longer than a batch"],
)
def test_a_batch_is_as_many_texts_as_asked_for_and_as_memory_bears(num_labels: int, rows: int, tokens: int, expected: dict[int, int]) -> None:
    inputs = [Input(row=row, token_ids=[0] * tokens, target=label) for label in range(num_labels) for row in range(rows)]
    steps = ContrastSteps(None, inputs, 64, 0)  # type: ignore[arg-type]
    texts: list[Input] = steps.step(1).micro_batches[0].items  # type: ignore[attr-defined]
    of_each = Counter(one.target for one in texts)
    assert Counter(of_each.values()) == expected
    assert sum(len(one.token_ids) for one in texts) <= max(MOST_TOKENS, 4 * tokens) + 2 * tokens
    assert steps.per_epoch == max(1, num_labels * rows // 64) or 64 % len(of_each)
