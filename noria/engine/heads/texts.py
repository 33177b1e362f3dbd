"""Reading a text or a pair whole: one input a row, cut where it is longer than the model reads."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

from noria.data import Example
from noria.engine.heads.reader import Input
from noria.engine.heads.text_input import Wrap
from noria.model import Tokenizer


class _Texts(Protocol):
    text: str
    text_pair: str | None


class TextReader:
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
            room = self.wrap.room()
            return Input(row=index, token_ids=self.wrap.one(first[:room]), target=target, num_cut=max(0, len(first) - room))
        token_ids, kinds = self.wrap.pair(first, second)
        num_cut = max(0, len(first) + len(second) - self.wrap.room(2))
        return Input(row=index, token_ids=token_ids, kinds=kinds, target=target, num_cut=num_cut)

    def _target(self, row: Any) -> Any:
        raise NotImplementedError
