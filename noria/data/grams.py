"""The n-grams of a text as numbers, all at once: what near-duplicates and contamination are found by.

In: a text. Out: 64-bit hashes of its windows as a numpy array. The hash of a window is its value as a polynomial over the code points modulo 2^64
(Karp and Rabin 1987), taken from running sums, so that windows of any size cost one subtraction each; equal windows have equal hashes in every
process and on every machine.
"""

import re
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noria.data.duplicates import gram_size, plain_text

Hashes = NDArray[np.uint64]
_BASE = 0x9E3779B97F4A7C15
"""Odd, so that it has an inverse modulo 2^64."""
NUM_KEPT_POWERS = 1 << 20
"""16 MB; those for a longer text are made for it alone."""
_UNIT = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|[^\W_\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
IDEOGRAPH = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def character_grams(text: str) -> Hashes:
    """The distinct character n-grams of a text, as `noria.data.duplicates.ngrams` cuts them, sorted."""
    plain = plain_text(text)
    size = gram_size(plain)
    last = max(1, len(plain) - size + 1)
    starts = np.arange(last)
    return np.unique(mixed(_windows(plain, starts, np.minimum(starts + size, len(plain)))))


def units(text: str) -> list[str]:
    """The words of a text, each ideograph by itself, without punctuation, case and width."""
    return _UNIT.findall(plain_text(text))


class UnitWindows:
    """All windows of so many units of one text."""

    def __init__(self, of: list[str]) -> None:
        self.num_units = len(of)
        lengths = np.fromiter((len(unit) for unit in of), dtype=np.int64, count=len(of))
        self._ends = np.cumsum(lengths + 1) - 1
        self._starts = self._ends - lengths
        self._text = " ".join(of)
        self._sums, self._inverses = _running_sums(self._text)

    def hashes(self, size: int) -> Hashes:
        """In order; none where the text has fewer units."""
        if self.num_units < size:
            return np.zeros(0, np.uint64)
        starts, ends = self._starts[: self.num_units - size + 1], self._ends[size - 1 :]
        return mixed((self._sums[ends] - self._sums[starts]) * self._inverses[starts])

    def window(self, first: int, size: int) -> str:
        """The window that begins at a unit, as text."""
        return self._text[self._starts[first] : self._ends[first + size - 1]]


def mixed(hashes: NDArray[Any]) -> Hashes:
    """Spread every bit of a hash over all bits (the finalizer of SplitMix64, Steele et al. 2014); one to one."""
    h = np.asarray(hashes, np.uint64)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def character_windows(text: str, size: int) -> Hashes:
    """Hashes of the windows of so many characters, in order, the text as it is."""
    starts = np.arange(max(0, len(text) - size + 1))
    return _windows(text, starts, starts + size)


def _windows(text: str, starts: NDArray[Any], ends: NDArray[Any]) -> Hashes:
    sums, inverses = _running_sums(text)
    return (sums[ends] - sums[starts]) * inverses[starts]


def _running_sums(text: str) -> tuple[Hashes, Hashes]:
    """S[i] = sum over j < i of c[j] B^j, and B^-i, so that a window's value is (S[end] - S[start]) B^-start."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    count = len(codes) + 1
    powers, inverses = _kept_powers() if count <= NUM_KEPT_POWERS else _powers(count)
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum((codes + np.uint64(1)) * powers[: len(codes)], out=sums[1:])
    return sums, inverses


@cache
def _kept_powers() -> tuple[Hashes, Hashes]:
    return _powers(NUM_KEPT_POWERS)


def _powers(count: int) -> tuple[Hashes, Hashes]:
    """B^i and B^-i modulo 2^64 for i < count."""
    powers = [np.full(count, base, np.uint64) for base in (_BASE, pow(_BASE, -1, 1 << 64))]
    for factors in powers:
        factors[0] = 1
    return np.cumprod(powers[0]), np.cumprod(powers[1])
