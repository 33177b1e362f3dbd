"""Prompts that begin alike are read once: which request should wait until another one has read what they share.

In: prompts as token ids, and when each was added, read or given up. Out: whether a prompt had better wait. An engine that caches prefixes
finds only what has been computed already; users who ask at the same moment share a long system prompt that none of them has read yet, and
without waiting each would have it computed anew. A prompt waits only for beginnings that are being read right now, so it costs no more than
the rest of one other prompt, and nobody waits for an answer.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence

BLOCK_TOKENS = 32
"""OpenVINO caches prefixes in whole blocks of this size on a CPU."""
MIN_BLOCKS = 2
"""What must be saved at least for a prompt to wait."""
MAX_BLOCKS = 16_384
"""Blocks remembered as computed; those used longest ago are forgotten first, as in the engine's cache."""


def blocks_of(prompt: Sequence[int]) -> list[int]:
    """A hash of the prompt up to the end of each whole block."""
    hashes: list[int] = []
    before = 0
    for start in range(0, len(prompt) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
        before = hash((before, *prompt[start : start + BLOCK_TOKENS]))
        hashes.append(before)
    return hashes


class Beginnings:
    """What has been read and what is being read, by the hashes of `blocks_of`."""

    def __init__(self, max_blocks: int = MAX_BLOCKS) -> None:
        self._max_blocks = max_blocks
        self._read: OrderedDict[int, None] = OrderedDict()
        self._being_read: Counter[int] = Counter()
        self._reading: dict[int, Sequence[int]] = {}

    def worth_waiting(self, blocks: Sequence[int]) -> bool:
        """Whether a longer beginning of the prompt is being read than has been."""
        num_saved = 0
        for block in blocks:
            if block in self._read:
                continue
            if block not in self._being_read:
                break
            num_saved += 1
        return num_saved >= MIN_BLOCKS

    def start(self, request_id: int, blocks: Sequence[int]) -> None:
        """The engine begins to read a prompt."""
        self._reading[request_id] = blocks
        self._being_read.update(blocks)

    def end(self, request_id: int, read: bool) -> None:
        """The prompt has been read (its first token is there) or given up. May be called again; only the first call counts."""
        blocks = self._reading.pop(request_id, ())
        for block in blocks:
            self._being_read[block] -= 1
            if not self._being_read[block]:
                del self._being_read[block]
            if read:
                self._read[block] = None
                self._read.move_to_end(block)
        while len(self._read) > self._max_blocks:
            self._read.popitem(last=False)
