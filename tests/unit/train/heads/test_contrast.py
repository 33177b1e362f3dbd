"""The contrastive loss is its formula; names of labels are texts where they are words."""

import math

import pytest
import torch

from noria.train.heads.classify import named
from noria.train.heads.contrast import contrastive_loss


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
