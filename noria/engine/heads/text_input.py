"""Texts as a model reads them: its special tokens around one text or a pair, cut or windowed to what it can hold."""

from collections.abc import Sequence
from dataclasses import dataclass

from noria.model import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Wrap:
    """Special tokens of an encoder ([CLS] text [SEP] pair [SEP]), or of a decoder (text, end)."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    num_positions: int
    """Longest sequence that the model reads."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, num_positions: int) -> "Wrap":
        cls_id, sep_id = tokenizer.role_id("cls_token"), tokenizer.role_id("sep_token")
        if cls_id is not None and sep_id is not None:
            return cls(begin=(cls_id,), end=(sep_id,), num_positions=num_positions)
        begin = () if tokenizer.bos_id is None else (tokenizer.bos_id,)
        return cls(begin=begin, end=(tokenizer.eos_id,), num_positions=num_positions)

    def room(self, num_texts: int = 1) -> int:
        """Tokens of text beside the special ones."""
        return self.num_positions - len(self.begin) - num_texts * len(self.end)

    def one(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        return (*self.begin, *token_ids, *self.end)

    def pair(self, first: Sequence[int], second: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids and kinds; the longer text is cut from its end until both fit."""
        room = self.room(2)
        keep_second = min(len(second), max(room // 2, room - len(first)))
        first, second = first[: room - keep_second], second[:keep_second]
        ids = (*self.begin, *first, *self.end, *second, *self.end)
        num_first = len(self.begin) + len(first) + len(self.end)
        return ids, (0,) * num_first + (1,) * (len(ids) - num_first)


def windows(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Begin and end of windows of at most `room` that cover `length`, each overlapping the one before by `stride` at least, or by half of `room`."""
    if length <= room:
        return [(0, length)]
    step = max(room - stride, (room + 1) // 2)
    starts = [*range(0, length - room, step), length - room]
    return [(start, start + room) for start in starts]
