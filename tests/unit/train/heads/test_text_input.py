"""Texts cut, paired and windowed to what a model reads."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel

from noria.engine.heads import Wrap, windows
from noria.train.heads.opening import num_positions


@given(length=st.integers(0, 200), room=st.integers(2, 50), stride=st.integers(0, 60))
def test_windows_cover_everything_and_none_is_too_long(length: int, room: int, stride: int) -> None:
    found = windows(length, room, stride)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(end - start <= room for start, end in found)
    assert all(a[1] >= b[0] + min(stride, room // 2) for a, b in itertools.pairwise(found))
    assert {i for start, end in found for i in range(start, end)} == set(range(length))


@given(first=st.integers(0, 40), second=st.integers(0, 40))
def test_a_pair_fits_and_keeps_what_it_can(first: int, second: int) -> None:
    wrap = Wrap(begin=(1,), end=(2,), num_positions=23)
    ids, kinds = wrap.pair([7] * first, [8] * second)
    assert len(ids) == len(kinds) <= 23
    assert ids.count(7) + ids.count(8) == min(first + second, 20)
    assert all(kind == (0 if token == 7 else 1) for token, kind in zip(ids, kinds, strict=True) if token in (7, 8))


def test_a_stride_as_long_as_the_room_makes_no_window_for_every_token() -> None:
    assert len(windows(400, 61, 64)) < 30


@pytest.mark.parametrize(("kind", "readable"), [("roberta", 512), ("bert", 514)])
def test_positions_that_are_numbered_behind_the_padding_are_fewer(kind: str, readable: int) -> None:
    config = AutoConfig.for_model(kind, vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    config.update({"max_position_embeddings": 514, "pad_token_id": 1})
    model = AutoModel.from_config(config)
    assert model(input_ids=torch.full((1, readable), 5)).last_hidden_state.shape[1] == readable
    assert num_positions(config) == readable
