"""Near-duplicates by their character n-grams: works in any language, Chinese included.

MinHash with locality-sensitive hashing proposes candidates (Broder 1997; Indyk and Motwani 1998), the exact Jaccard similarity of the n-gram
sets decides, so nothing is called a duplicate that is none.
"""

import re
import unicodedata
import zlib
from collections.abc import Hashable
from typing import Any

_NUM_PERMUTATIONS = 128
_NGRAM = 5
_NGRAM_IDEOGRAPHS = 2
"""Chinese carries in two characters what English carries in five."""
_IDEOGRAPH = re.compile(r"[\u3400-\u9fff]")


class NearDuplicates:
    """An index of texts that answers which of them are nearly the same as another.

    Args:
        threshold: Jaccard similarity of the n-gram sets, 0..1, from which two texts are near-duplicates.
    """

    def __init__(self, threshold: float = 0.8) -> None:
        from datasketch import MinHash, MinHashLSH

        # Bands of a few rows propose far more than is similar enough, and miss less than one true pair in a thousand.
        rows = 4 if threshold >= 0.7 else 2
        self._threshold = threshold
        self._index = MinHashLSH(num_perm=_NUM_PERMUTATIONS, params=(_NUM_PERMUTATIONS // rows, rows))
        self._empty = MinHash(num_perm=_NUM_PERMUTATIONS, hashfunc=zlib.crc32)
        self._grams: dict[Hashable, frozenset[str]] = {}

    def add(self, key: Hashable, text: str) -> None:
        """Put a text into the index under a key of its own."""
        grams = ngrams(text)
        self._grams[key] = grams
        self._index.insert(key, self._signature(grams))

    def find(self, text: str) -> list[tuple[Hashable, float]]:
        """Keys of the near-duplicates of a text with their similarity, the most similar first."""
        grams = ngrams(text)
        found = ((key, jaccard(grams, self._grams[key])) for key in self._index.query(self._signature(grams)))
        return sorted(((key, s) for key, s in found if s >= self._threshold), key=lambda pair: (-pair[1], str(pair[0])))

    def _signature(self, grams: frozenset[str]) -> Any:
        signature = self._empty.copy()
        signature.update_batch([gram.encode("utf-8", "surrogatepass") for gram in grams])
        return signature


def ngrams(text: str) -> frozenset[str]:
    """The set of character n-grams of a text, without regard to case, width and white space."""
    plain = plain_text(text)
    size = gram_size(plain)
    return frozenset(plain[i : i + size] for i in range(max(1, len(plain) - size + 1)))


def plain_text(text: str) -> str:
    """A text without the differences of case, width and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def gram_size(plain: str) -> int:
    """Characters of an n-gram: few where every third character or more is an ideograph."""
    return _NGRAM_IDEOGRAPHS if len(_IDEOGRAPH.findall(plain)) * 3 > len(plain) else _NGRAM


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared n-grams over all n-grams."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)
