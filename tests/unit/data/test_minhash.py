"""Near-duplicates among many documents: planted copies are found, in both languages, and nothing else is."""

import random
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from noria.data import jaccard, ngrams
from noria.data.grams import character_grams
from noria.data.minhash import (
    NUM_BANDS,
    digest,
    equal_texts,
    jaccard_of_sorted,
    near_duplicates,
    promising,
    proposed_pairs,
    remembered,
    signature,
)
from noria.testing.documents import MAKERS, copied


def found_among(texts: list[str], threshold: float = 0.8) -> dict[int, int]:
    """Number of each duplicate to the document that stays, as the stages of `noria data build` do it."""
    signatures = [signature(text) for text in texts]
    keys = np.stack([s.keys for s in signatures])
    removed = np.zeros(len(texts), bool)
    pairs = promising(
        proposed_pairs((keys[:, band] for band in range(NUM_BANDS)), removed), np.stack([s.sketch for s in signatures]).__getitem__, threshold
    )
    return {d.number: d.original for d in near_duplicates(pairs, texts.__getitem__, threshold, removed, lambda *_: None)}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_planted_copies_are_found_and_others_are_not(language: str) -> None:
    rng = random.Random(5)
    originals = [MAKERS[language](rng, rng.randint(12, 20)) for _ in range(150)]
    copies = {len(originals) + n: n for n in range(30)}
    found = found_among([*originals, *(copied(originals[n], rng) for n in copies.values())])
    assert found == copies


def test_what_is_found_is_what_comparing_all_pairs_finds() -> None:
    rng = random.Random(6)
    texts = [MAKERS["en"](rng, 12) for _ in range(40)]
    texts += [copied(copied(text, rng), rng) for text in texts[:25]]
    grams = [ngrams(text) for text in texts]
    stays: list[int] = []
    expected: dict[int, int] = {}
    for number in range(len(texts)):
        like = next((other for other in stays if jaccard(grams[other], grams[number]) >= 0.8), None)
        if like is None:
            stays.append(number)
        else:
            expected[number] = like
    assert found_among(texts) == expected


def test_of_a_family_the_first_stays() -> None:
    text = MAKERS["en"](random.Random(1), 14)
    assert found_among([text, text.upper(), text.replace("\n\n", "\n"), "Something else altogether, and short."]) == {1: 0, 2: 0}


def test_hashed_similarity_is_the_true_one() -> None:
    rng = random.Random(2)
    texts = [copied(MAKERS[language](random.Random(3), 10), rng) for language in ("en", "zh") for _ in range(6)]
    for left, right in combinations(texts, 2):
        assert jaccard_of_sorted(character_grams(left), character_grams(right), 0.0) == pytest.approx(jaccard(ngrams(left), ngrams(right)))


def test_equal_texts_name_the_first() -> None:
    texts = ["a", "b", " a\n", "c", "b"]
    assert equal_texts(np.stack([digest(text) for text in texts])).tolist() == [0, 1, 0, 3, 1]


def test_pairs_of_many_bands_take_the_memory_of_one() -> None:
    num_documents = 20_000
    keys = np.arange(num_documents, dtype=np.uint64) // 2  # each has a copy that shares all bands with it
    tracemalloc.start()
    pairs = proposed_pairs((keys for _ in range(NUM_BANDS)), np.zeros(num_documents, bool))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs.tolist() == [[2 * n, 2 * n + 1] for n in range(num_documents // 2)]
    assert peak < 120 * num_documents


def test_what_was_asked_for_last_is_remembered_up_to_so_many_bytes() -> None:
    made: list[int] = []

    def grams_of(number: int) -> NDArray[np.uint64]:
        made.append(number)
        return np.full(number, number, np.uint64)

    grams = remembered(grams_of, max_bytes=8 * 10)
    for number in (1, 2, 3, 4, 1, 11, 2, 5, 1, 2, 4):  # the first four fit in, 11 never does, and 5 takes the place of 3 and 4
        assert grams(number).tolist() == [number] * number
    assert made == [1, 2, 3, 4, 11, 5, 4]


def test_nothing_is_proposed_where_nothing_is() -> None:
    none = np.zeros(0, bool)
    assert proposed_pairs((np.zeros(0, np.uint64) for _ in range(NUM_BANDS)), none).shape == (0, 2)
