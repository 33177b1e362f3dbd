"""Reading a text or a pair whole: one input a row, cut where it is longer than the model reads."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, cast

from noria.data import Example
from noria.engine.heads.reader import Input
from noria.engine.heads.text_input import Wrap
from noria.model import Tokenizer


class _Texts(Protocol):
    text: str
    text_pair: str | None


def whole_text(wrap: Wrap, row: int, ids: list[int], target: Any) -> Input:
    """The input of a text that is read at once, cut at its end where it is too long."""
    room = wrap.room()
    return Input(row=row, token_ids=wrap.one(ids[:room]), target=target, num_cut=max(0, len(ids) - room))


class TextReader(ABC):
    """How rows with a `text` and perhaps a `text_pair` become inputs; what is learnt of a row is the task's (`_target`)."""

    def __init__(self, tokenizer: Tokenizer, wrap: Wrap, with_kinds: bool) -> None:
        self.tokenizer, self.wrap, self.with_kinds = tokenizer, wrap, with_kinds

    @property
    def cut_field(self) -> tuple[str, int]:
        return "text", self.wrap.room()

    def inputs(self, rows: Sequence[Example]) -> list[Input]:
        typed = cast(Sequence[_Texts], rows)
        firsts = self.tokenizer.encode_batch([row.text for row in typed])
        seconds = self.tokenizer.encode_batch([row.text_pair or "" for row in typed])
        return [self._input(index, row, *both) for index, (row, both) in enumerate(zip(typed, zip(firsts, seconds, strict=True), strict=True))]

    def _input(self, index: int, row: _Texts, first: list[int], second: list[int]) -> Input:
        target = self._target(row)
        if row.text_pair is None:
            return whole_text(self.wrap, index, first, target)
        token_ids, kinds = self.wrap.pair(first, second)
        num_cut = max(0, len(first) + len(second) - self.wrap.room(2))
        return Input(row=index, token_ids=token_ids, kinds=kinds, target=target, num_cut=num_cut)

    @abstractmethod
    def _target(self, row: Any) -> Any:
        """What is learnt of a row; None of one that only asks."""
