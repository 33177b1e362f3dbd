"""Passages of a split: which a validation reads."""

from pathlib import Path

import numpy as np
import pytest

from noria.data import Encoded, write_shards
from noria.train.passages import Passages
from noria.train.pretrain_config import PretrainConfig
from noria.train.pretrain_plan import LEAST_READ, _validated


def passages(folder: Path, lengths: list[int]) -> Passages:
    documents = [("train", Encoded(token_ids=list(range(length)), num_bytes=length)) for length in lengths]
    return Passages(write_shards(folder / "shards", documents, 1000).train, 500, 0)


@pytest.mark.parametrize(("max_tokens", "count"), [(6000, 100), (10**9, 100), (600, 10), (599, 9), (1, 1)])
def test_short_passages_are_counted_by_their_tokens(tmp_path: Path, max_tokens: int, count: int) -> None:
    of = passages(tmp_path, [60] * 100)
    chosen = of.sample(max_tokens, np.random.default_rng(0))
    assert len(chosen) == len(set(chosen)) == count
    assert chosen == sorted(chosen) == of.sample(max_tokens, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("given", "room", "expected"),
    [
        ({}, 10**9, {"scored_tokens": 10**9, "validation_tokens": 65_536}),
        ({}, 400_000, {"scored_tokens": 400_000, "validation_tokens": 20_000}),
        ({}, 10, {"scored_tokens": LEAST_READ, "validation_tokens": LEAST_READ}),
        ({"num_validations": 2}, 100_000, {"scored_tokens": 100_000, "validation_tokens": 50_000}),
        ({"validation_tokens": 65_536}, 400_000, {"scored_tokens": 400_000}),
    ],
    ids=["time for all", "time for a part", "hardly any", "fewer validations", "as set"],
)
def test_validations_read_as_much_as_there_is_time_for(given: dict[str, int], room: float, expected: dict[str, int]) -> None:
    assert _validated(PretrainConfig(**given), room) == expected  # type: ignore[arg-type]
