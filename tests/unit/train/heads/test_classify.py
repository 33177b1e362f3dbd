"""A classifier's predictions, its loss over several labels, and what it does not read."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers.utils import ModelOutput

from noria.data import ClassifyExample
from noria.engine.heads import HeadFile, OpenHead, Wrap, cut_of
from noria.engine.heads.runners import torch_runner
from noria.evaluate.scores import calibration_error
from noria.model import Tokenizer, train_tokenizer
from noria.train.heads.classify import Classify


class Even:
    """A model that holds every label for as likely as every other."""

    device = torch.device("cpu")

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return ModelOutput(logits=torch.full((len(input_ids), 2), 0.3))


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return train_tokenizer("wordpiece", ["ab ba aab bba"] * 30, 60, "mlm-nsp", at_most=True)


def test_the_score_says_how_sure_the_label_is_that_is_said(words: Tokenizer) -> None:
    head = Classify(words, Wrap.of(words, 32), ("a", "b", "c"), threshold=0.5)
    probabilities = [np.array([0.98, 0.01, 0.01]), np.array([0.01, 0.98, 0.01]), np.array([0.34, 0.33, 0.33])]
    said = [one.output for one in head.predictions([], [], probabilities)]
    assert [one["label"] for one in said] == ["a", "b", "out_of_scope"]
    assert said[2]["score"] == pytest.approx(0.66)
    head.threshold = 0.999
    [sure] = head.predictions([], [], [np.array([0.05, 0.03, 0.02])])
    assert calibration_error([sure.output["score"]], [True]) < 0.06


def test_targets_of_several_labels_are_smoothed(words: Tokenizer) -> None:
    head = Classify(words, Wrap.of(words, 32), ("a", "b"), several=True, smoothing=0.2)
    inputs = head.inputs([ClassifyExample(text="ab", label=("a",))])
    wanted = functional.binary_cross_entropy_with_logits(torch.full((2,), 0.3), torch.tensor([0.9, 0.1]), reduction="sum")
    assert float(head.loss(Even(), inputs).total) == pytest.approx(float(wanted))


def test_texts_that_are_cut_are_counted_and_said(words: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    head = Classify(words, Wrap.of(words, 32), ("a", "b"))
    rows = [ClassifyExample(text="ab " * 600), ClassifyExample(text="ab"), ClassifyExample(text="ab " * 20, text_pair="ba " * 20)]
    inputs = head.inputs(rows)
    assert [one.num_cut for one in inputs] == [570, 0, 11]
    assert cut_of(head, inputs) == "2 of 3 rows have a text of more than 30 tokens, or a pair of more than 29 together; the rest of it is not read."
    assert cut_of(head, inputs[:2]) == "1 of 2 rows have a text of more than 30 tokens; the rest of it is not read."
    assert cut_of(head, inputs[1:2]) is None
    with caplog.at_level(logging.WARNING):
        told = HeadFile(task="classify", num_positions=32, with_kinds=False)
        assert len(list(OpenHead(told=told, reader=head, runner=torch_runner(Even(), None)).predictions(rows))) == 3
    assert "2 of 3 rows" in caplog.text
