"""What the dial chooses: a vocabulary as large as the text supports and the model makes use of, shape, rates and rows."""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from noria.model import Shape, make_config
from noria.testing.tiny_text import shards_of
from noria.train import pretrain_plan
from noria.train.dial import LEAST_STEPS, WIDTHS, batch_for, body_for, body_of, choose_shape, shape_of, vocab_size_for
from noria.train.pretrain_config import PretrainConfig
from noria.train.pretrain_plan import FIRST_VOCAB, LEAST_VOCAB, MAX_VOCAB, PretrainPlan, Speed, derived_vocab_size, plan_run
from noria.train.processes import Processes

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
    assert derived(size=10**12) == MAX_VOCAB
    assert derived(steps=100) == derived(minutes=60) < MAX_VOCAB


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


def test_a_step_is_large_enough_for_its_optimizer_and_a_run_has_hundreds_of_them() -> None:
    assert [batch_for(tokens, 512) for tokens in (1e4, 1e6, 4e6, 2e7, 1e8, 1e12)] == [512, 2048, 4096, 4096, 16_384, 1 << 18]
    assert batch_for(1e4, 1024) == 1024
    for tokens in (3e5, 2e6, 1e7):
        assert tokens / batch_for(tokens, 256) > LEAST_STEPS / 2


def test_the_fewer_tokens_are_predicted_the_smaller_the_model() -> None:
    def chosen(predicted: float) -> int:
        speed = lambda shape: 1e10 / body_of(shape)  # noqa: E731
        return choose_shape(3600, 1e9, 128, lambda shape: 1000 * shape.width + body_of(shape), speed, 9e11, predicted)[0].shape.width

    widths = [chosen(predicted) for predicted in (1.0, 0.3, 0.01)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1]


def planned(tmp_path: Path, **settings: Any) -> PretrainPlan:
    """What is planned for a hundred thousand tokens where every shape is trained with as many operations a second."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    split = shards_of(folder, [list(range(1000)) for _ in range(100)]).train
    config = PretrainConfig.model_validate(settings)
    made = partial(make_config, "bert" if config.objective == "mlm-nsp" else "llama", vocab_size=1000, special={})
    speed = lambda plan, _compiled: Speed(1e10 / plan.num_parameters, plan.batch_tokens)  # noqa: E731
    return plan_run(folder, config, split, 60 * settings["minutes"], made, speed, torch.float32, Processes())


def test_an_encoder_has_short_rows_and_a_quarter_of_the_rate_for_its_embeddings(tmp_path: Path) -> None:
    decoder, encoder = (planned(tmp_path, minutes=10, width=256, objective=objective) for objective in ("clm", "mlm-nsp"))
    assert (decoder.context, encoder.context) == (512, 128)
    assert decoder.learning_rate == decoder.muon_rate == encoder.muon_rate == 4 * encoder.learning_rate
    wide = planned(tmp_path, minutes=10, width=1024, objective="mlm-nsp", context=512)
    assert (wide.context, wide.learning_rate, wide.muon_rate) == (512, encoder.learning_rate / 2, encoder.muon_rate / 2)
    given = planned(tmp_path, minutes=10, width=256, objective="mlm-nsp", learning_rate=0.01)
    assert (given.learning_rate, given.muon_rate) == (0.01, 0.04)
    assert planned(tmp_path, minutes=10, width=256, muon_rate=0.02).muon_rate == 0.02


def test_the_shape_of_an_encoder_goes_by_what_it_predicts(tmp_path: Path) -> None:
    many, few = (planned(tmp_path, minutes=600, objective="mlm-nsp", mask_rate=rate) for rate in (0.9, 0.01))
    assert many.width > few.width
