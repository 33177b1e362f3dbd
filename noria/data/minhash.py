"""Near-duplicates among any number of documents: signatures first, then who must be compared with whom, then the comparison itself.

MinHash with locality-sensitive hashing proposes pairs (Broder 1997; Indyk and Motwani 1998): of 36 bands of 7 rows, two documents of similarity s
share at least one with probability 1 - (1 - s^7)^36: 0.994 at 0.75, 0.9998 at 0.8, 0.002 at 0.25. A sketch of 64 bytes (b-bit minwise hashing, Li and
Koenig 2010) puts aside pairs that are far from similar enough; the exact Jaccard similarity of the character n-grams decides on the rest, so that
nothing is removed for a likeness that it does not have. A document goes if it is that similar to an earlier one that stays.

Memory: 78 bytes a document at the peak, in `proposed_pairs` (of 500,000, 30 % of them copies): the pairs so far and what one band takes. Later
256 MB of n-grams, and those of the two documents at hand.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from noria.data.grams import Hashes, character_grams, mixed

NUM_BANDS, NUM_ROWS, SKETCH_BYTES = 36, 7, 64
MAX_REMEMBERED_BYTES = 256 << 20
_CHUNK = 4096
_random = np.random.default_rng(20_250_101)
_FACTORS = _random.integers(0, 1 << 32, NUM_BANDS * NUM_ROWS, np.uint32) | np.uint32(1)
_OFFSETS = _random.integers(0, 1 << 32, NUM_BANDS * NUM_ROWS, np.uint32)


class Signature(NamedTuple):
    """What documents are found by."""

    keys: Hashes
    """One a band, (NUM_BANDS,): similar documents share some."""
    sketch: NDArray[np.uint8]
    """(SKETCH_BYTES,): documents of similarity s agree in about a share s of them."""


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A document that goes, by its number, and the earlier one that stays in its place."""

    number: int
    original: int
    similarity: float
    equal: bool = False
    """The texts are the same."""


def signature(text: str) -> Signature:
    """The signature of the character n-grams of a text."""
    grams = (character_grams(text) >> np.uint64(32)).astype(np.uint32)
    smallest = np.full(NUM_BANDS * NUM_ROWS, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(grams), _CHUNK):
        permuted = np.multiply.outer(_FACTORS, grams[start : start + _CHUNK])  # (hashes, grams), modulo 2^32
        permuted += _OFFSETS[:, None]
        np.minimum(smallest, permuted.min(axis=1), out=smallest)
    keys = np.zeros(NUM_BANDS, np.uint64)
    for row in smallest.reshape(NUM_BANDS, NUM_ROWS).T:
        keys = mixed(keys + row)
    return Signature(keys, mixed(smallest[::3][:SKETCH_BYTES]).astype(np.uint8))


def digest(text: str) -> Hashes:
    """128 bits that equal texts share, white space at the ends apart."""
    return np.frombuffer(blake2b(text.strip().encode("utf-8", "surrogatepass"), digest_size=16).digest(), np.uint64)


def equal_texts(digests: NDArray[Any]) -> NDArray[np.int64]:
    """For each document the number of the first one with the same digest: its own where there is none before it."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: of equal ones the first stays the first
    ordered = digests[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    return first


def proposed_pairs(bands: Iterator[NDArray[Any]], removed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pairs (earlier, later) that share a band, sorted by the later one; of many that share it, each with the first and the one before it.

    Args:
        bands: the keys of all documents, one band after another.
        removed: documents that need no comparison.
    """
    numbers = np.flatnonzero(~removed)
    codes = np.zeros(0, np.int64)
    for keys in bands:
        kept = keys[numbers]
        order = np.argsort(kept, kind="stable")
        ordered, same = numbers[order], kept[order][1:] == kept[order][:-1]
        later = np.flatnonzero(same) + 1
        if not len(later):
            continue
        begins = np.concatenate([[True], ~same])
        first = np.maximum.accumulate(np.where(begins, np.arange(len(ordered)), 0))[later]
        # After each band, for a pair of much likeness comes with most of them.
        codes = np.unique(np.concatenate([codes, *(ordered[later] << 32 | ordered[earlier] for earlier in (first, later - 1))]))
    return np.stack([codes & 0xFFFFFFFF, codes >> 32], axis=1)


def promising(pairs: NDArray[np.int64], sketches_of: Callable[[NDArray[np.int64]], NDArray[np.uint8]], threshold: float) -> NDArray[np.int64]:
    """The pairs whose sketches do not speak against a similarity of `threshold`: they agree in no fewer places than four deviations below it."""
    least = SKETCH_BYTES * threshold - 4 * (SKETCH_BYTES * threshold * (1 - threshold)) ** 0.5
    kept = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(pairs), 1 << 16):
        part = pairs[start : start + (1 << 16)]
        agree = (sketches_of(part[:, 0]) == sketches_of(part[:, 1])).sum(axis=1)
        kept.append(part[agree >= least])
    return np.concatenate(kept)


def near_duplicates(
    pairs: NDArray[np.int64], text_of: Callable[[int], str], threshold: float, removed: NDArray[np.bool_], report: Callable[[int, int], None]
) -> Iterator[Duplicate]:
    """Those of the later documents of the pairs that are as similar as `threshold` to an earlier one that stays; `removed` is kept up to date."""
    grams = remembered(lambda number: character_grams(text_of(number)), MAX_REMEMBERED_BYTES)
    for start in range(0, len(pairs), 1000):
        report(start, len(pairs))
        for earlier, later in pairs[start : start + 1000].tolist():
            if removed[earlier] or removed[later]:
                continue
            similarity = jaccard_of_sorted(grams(earlier), grams(later), threshold)
            if similarity >= threshold:
                removed[later] = True
                yield Duplicate(number=later, original=earlier, similarity=similarity)


def remembered(grams_of: Callable[[int], Hashes], max_bytes: int) -> Callable[[int], Hashes]:
    """The same function, with what it gave last kept: so many bytes together, and none that is longer by itself."""
    kept: OrderedDict[int, Hashes] = OrderedDict()
    num_bytes = 0

    def of(number: int) -> Hashes:
        nonlocal num_bytes
        found = kept.get(number)
        if found is not None:
            kept.move_to_end(number)
            return found
        found = grams_of(number)
        if found.nbytes > max_bytes:
            return found
        kept[number] = found
        num_bytes += found.nbytes
        while num_bytes > max_bytes:
            num_bytes -= kept.popitem(last=False)[1].nbytes
        return found

    return of


def jaccard_of_sorted(left: Hashes, right: Hashes, threshold: float) -> float:
    """Jaccard similarity of two sorted sets; 0 at once where their sizes alone keep it below the threshold."""
    if min(len(left), len(right)) < threshold * max(len(left), len(right)):
        return 0.0
    places = np.searchsorted(left, right)
    places[places == len(left)] = 0
    shared = int(np.count_nonzero(left[places] == right))
    return shared / (len(left) + len(right) - shared)
