"""Hashed windows are the windows themselves, only faster."""

import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noria.data import ngrams
from noria.data.grams import NUM_KEPT_POWERS, UnitWindows, character_grams, character_windows, units

TEXT = st.text(alphabet=st.sampled_from("ab 好天，.Ａ\n水"), max_size=60)


@settings(max_examples=50, deadline=None)
@given(TEXT)
def test_as_many_hashes_as_there_are_different_n_grams(text: str) -> None:
    assert len(character_grams(text)) == len(ngrams(text))


@settings(max_examples=50, deadline=None)
@given(TEXT, st.integers(1, 6))
def test_equal_windows_have_equal_hashes_and_others_do_not(text: str, size: int) -> None:
    windows = [text[i : i + size] for i in range(len(text) - size + 1)]
    hashes = character_windows(text, size).tolist()
    assert len(hashes) == len(windows)
    assert len(set(zip(windows, hashes, strict=True))) == len(set(windows)) == len(set(hashes))


def test_units_are_words_and_single_ideographs() -> None:
    assert units("Ｈello, World's 你好！ snake_case ２０２４年") == ["hello", "world", "s", "你", "好", "snake", "case", "2024", "年"]


@pytest.mark.parametrize("size", [1, 3, 13])
def test_a_passage_has_the_same_hashes_wherever_it_stands(size: int) -> None:
    rng = random.Random(size)
    passage = [rng.choice(["water", "wheel", "水", "车", "7"]) for _ in range(20)]
    alone, inside = UnitWindows(passage), UnitWindows(["before", "it", *passage, "after"])
    assert alone.hashes(size).tolist() == inside.hashes(size).tolist()[2:-1]
    assert inside.window(2, size) == " ".join(passage[:size])
    assert len(alone.hashes(21)) == 0


def test_a_long_text_leaves_nothing_behind() -> None:
    text = "ab" * NUM_KEPT_POWERS
    expected = character_windows("abababab", 5).tolist()
    tracemalloc.start()
    assert np.array_equal(character_windows(text, 5), np.resize(expected[:2], len(text) - 4))
    assert tracemalloc.get_traced_memory()[0] < 20 * NUM_KEPT_POWERS
    tracemalloc.stop()
