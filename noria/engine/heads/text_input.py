"""Texts as a model reads them: its special tokens around one text or a pair, cut or windowed to what it can hold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tokenizers import Tokenizer as FastTokenizer

from noria.model import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Wrap:
    """Special tokens of an encoder ([CLS] text [SEP] pair [SEP]), or of a decoder (text, end)."""

    begin: tuple[int, ...]
    between: tuple[int, ...]
    """What parts two texts."""
    end: tuple[int, ...]
    num_positions: int
    """Longest sequence that the model reads."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, num_positions: int, between: tuple[int, ...] | None = None) -> "Wrap":
        """What stands around texts; `between` None: two are parted by what ends one, as folders have it that do not say otherwise."""
        cls_id, sep_id = tokenizer.role_id("cls_token"), tokenizer.role_id("sep_token")
        if cls_id is not None and sep_id is not None:
            begin, end = (cls_id,), (sep_id,)
        else:
            begin, end = () if tokenizer.bos_id is None else (tokenizer.bos_id,), (tokenizer.eos_id,)
        return cls(begin=begin, between=end if between is None else between, end=end, num_positions=num_positions)

    @classmethod
    def as_trained(cls, tokenizer: Tokenizer, num_positions: int) -> "Wrap":
        """The same, with between two texts what the tokenizer's own post-processor puts there (`</s></s>` of RoBERTa), where it has one like this."""
        made = cls.of(tokenizer, num_positions)
        found = FastTokenizer.from_str(tokenizer.to_json()).encode("a", "b")
        texts = [text for text in (0, 1) if text in found.sequence_ids]
        if texts != [0, 1]:
            return made
        first, second = (found.sequence_ids.index(text) for text in texts)
        behind, last = (len(found) - found.sequence_ids[::-1].index(text) for text in texts)
        if (tuple(found.ids[:first]), tuple(found.ids[last:])) != (made.begin, made.end):
            return made
        return replace(made, between=tuple(found.ids[behind:second]))

    def room(self, num_texts: int = 1) -> int:
        """Tokens of text beside the special ones."""
        return self.num_positions - len(self.begin) - (num_texts - 1) * len(self.between) - len(self.end)

    def one(self, token_ids: Sequence[int]) -> tuple[int, ...]:
        return (*self.begin, *token_ids, *self.end)

    def pair(self, first: Sequence[int], second: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids and kinds; the longer text is cut from its end until both fit."""
        room = self.room(2)
        keep_second = min(len(second), max(room // 2, room - len(first)))
        first, second = first[: room - keep_second], second[:keep_second]
        ids = (*self.begin, *first, *self.between, *second, *self.end)
        num_first = len(self.begin) + len(first) + len(self.between)
        return ids, (0,) * num_first + (1,) * (len(ids) - num_first)


def windows(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Begin and end of windows of at most `room` that cover `length`, each overlapping the one before by `stride` at least, or by half of `room`."""
    if length <= room:
        return [(0, length)]
    step = max(room - stride, (room + 1) // 2)
    starts = [*range(0, length - room, step), length - room]
    return [(start, start + room) for start in starts]
