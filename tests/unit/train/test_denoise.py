"""Span denoising: nothing is lost between what is read and what is asked for, and the loss is transformers' own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noria.model import Shape, make_config, new_model
from noria.testing.tiny_text import shards_of
from noria.train.denoise import Denoise, DenoiseIds, take_out_spans

IDS = DenoiseIds(end=1, pad=0, sentinels=range(3, 103))


@given(st.integers(2, 200), st.floats(0.01, 0.95), st.floats(1, 10), st.integers(0, 99))
def test_what_is_read_and_what_is_asked_for_make_the_text(length: int, noise: float, span: float, seed: int) -> None:
    tokens = np.arange(1000, 1000 + length)
    read, targets = take_out_spans(tokens, noise, span, IDS, np.random.default_rng(seed))
    spans: dict[int, list[int]] = {}
    for token in targets[:-1].tolist():
        if token < 1000:
            spans[token] = []
        else:
            spans[next(reversed(spans))].append(token)
    whole = [part for token in read[:-1].tolist() for part in (spans[token] if token < 1000 else [token])]
    assert whole == tokens.tolist()
    assert read[-1] == targets[-1] == IDS.end
    assert list(spans) == list(IDS.sentinels)[: len(spans)]
    assert all(spans.values())
    taken = sum(map(len, spans.values()))
    assert taken == min(max(1, round(noise * length)), length - 1)


def test_the_loss_is_transformers_own(tmp_path: Path) -> None:
    config = make_config("t5", Shape(width=16, num_layers=2, num_heads=2, context=32), 1200, {"eos": 1, "pad": 0})
    model = new_model(config, 0).eval()
    documents = [list(range(1000, 1000 + n)) for n in (20, 31, 60)]
    objective = Denoise(IDS, 0.15, 3.0, context=32, rows=4, micro_rows=4, seed=0)
    step = objective.steps(shards_of(tmp_path, documents, vocab_size=1200).train).step(0)
    assert len(step.micro_batches) == 1
    rows = step.micro_batches[0].items
    labels = torch.from_numpy(rows.targets)
    expected = model(input_ids=torch.from_numpy(rows.read), attention_mask=torch.from_numpy((rows.read != 0).astype("int64")), labels=labels).loss
    torch.testing.assert_close(step.micro_batches[0](model).total / step.weight, expected)
    assert objective.score(model, shards_of(tmp_path, documents, vocab_size=1200).train, 10_000)["loss"] == pytest.approx(np.log(1200), abs=1)


def test_a_step_is_the_same_whatever_was_asked_before(tmp_path: Path) -> None:
    split = shards_of(tmp_path, [list(range(1000, 1040))] * 5, vocab_size=1200).train
    one, other = (Denoise(IDS, 0.15, 3.0, context=32, rows=3, micro_rows=2, seed=0).steps(split) for _ in range(2))
    wanted = [one.step(number) for number in range(5)]
    again = [other.step(number) for number in reversed(range(5))][::-1]
    for a, b in zip(wanted, again, strict=True):
        for x, y in zip(a.micro_batches, b.micro_batches, strict=True):
            assert (x.items.read == y.items.read).all()
            assert (x.items.targets == y.items.targets).all()
