"""The vocabulary that the dial chooses: as large as the text supports and the model makes use of."""

import itertools

import pytest
import torch

from noria.model import Shape
from noria.train import pretrain_plan
from noria.train.dial import WIDTHS, body_for, body_of, shape_of, vocab_size_for
from noria.train.pretrain_config import PretrainConfig
from noria.train.pretrain_plan import FIRST_VOCAB, LEAST_VOCAB, MAX_VOCAB, derived_vocab_size

LARGE = 1e12
"""Bytes of a corpus that supports any vocabulary."""


def derived(num_bytes: float = LARGE, num_processes: int = 1, sample: str = "plain text", **settings: object) -> int:
    return derived_vocab_size(PretrainConfig.model_validate(settings), num_bytes, lambda: [sample], torch.float32, num_processes)


@pytest.fixture(autouse=True)
def peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain_plan, "matmul_peak", lambda *_: 9e11)


def test_a_model_of_seven_billion_gets_what_the_paper_tells() -> None:
    """About 60 thousand tokens (Tao et al. 2024), and the power of two that is nearest."""
    assert vocab_size_for(Shape(width=4096, num_layers=32, num_heads=32, context=2048)) == 65_536


def test_larger_models_get_vocabularies_at_least_as_large() -> None:
    sizes = [vocab_size_for(shape_of(width, 512)) for width in WIDTHS]
    assert all(smaller <= larger for smaller, larger in itertools.pairwise(sizes))
    assert sizes[-1] > 8 * sizes[0]


def test_a_vocabulary_that_few_tokens_read_may_be_larger() -> None:
    shape = shape_of(256, 512)
    assert vocab_size_for(shape, 0.15) in (2 * vocab_size_for(shape), 4 * vocab_size_for(shape))
    assert derived(minutes=60, objective="mlm-nsp") > derived(minutes=60)


def test_four_times_the_time_has_layers_twice_as_large() -> None:
    assert body_for(400, 1e12) == pytest.approx(2 * body_for(100, 1e12))
    assert body_of(Shape(width=10, num_layers=3, num_heads=1, context=8)) == 3600


def test_time_size_and_shape_each_bound_the_vocabulary() -> None:
    assert derived(minutes=2) == LEAST_VOCAB
    assert LEAST_VOCAB < derived(size=60_000_000) == derived(width=640, layers=10) < MAX_VOCAB
    assert derived(minutes=2, num_processes=10_000) > LEAST_VOCAB
    assert derived(size=10**12) == derived(steps=100) == MAX_VOCAB


def test_text_bounds_it_too() -> None:
    assert derived(num_bytes=1000, minutes=60) == FIRST_VOCAB
    assert derived(num_bytes=600 * 1024, size=10**12) == 1024


def test_a_script_of_many_characters_needs_more_tokens() -> None:
    common = "".join(map(chr, range(0x4E00, 0x4E00 + 2000))) * 100
    assert derived(minutes=2, sample=common) == 4096
    seldom = common[:50] * 4000 + common[:2000]
    assert derived(minutes=2, sample=seldom) == LEAST_VOCAB
    assert derived(minutes=2, sample=common, num_bytes=600 * 1024) == 1024
    assert derived(minutes=2, sample="") == LEAST_VOCAB
