"""What the C library does with the memory that tensors free, while a training run makes and frees the same ones at every step.

Nothing comes in or goes out; without glibc nothing happens.
"""

import ctypes
from collections.abc import Callable

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of mallopt(3)."""


def keep_freed_memory() -> None:
    """Let glibc keep what tensors free instead of giving it back to the system, which costs a page fault a page at the next step.

    Tensors over 32 MB, logits mostly, still go back at once: kept, their holes would grow memory without bound.
    """
    if mallopt := _c_function("mallopt"):
        mallopt(M_MMAP_THRESHOLD, 32 << 20)
        mallopt(M_TRIM_THRESHOLD, 512 << 20)


def give_back_freed_memory() -> None:
    """The opposite, once, when training is over."""
    if malloc_trim := _c_function("malloc_trim"):
        malloc_trim(0)


def _c_function(name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):
        return None
