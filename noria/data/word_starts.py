"""Where words begin, for masking whole words: by the characters of a text, whatever the tokenizer.

In: a text and where its tokens stand. Out: whether a word begins at each token. Words are runs of letters or digits, single other characters
and, in Chinese, the segments that jieba finds.
"""

import re
from collections.abc import Sequence

from noria.errors import DependencyError

_WORD = re.compile(r"\w+|[^\w\s]")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def word_starts(text: str, offsets: Sequence[tuple[int, int]]) -> list[bool]:
    """Whether a word begins at each token.

    Args:
        offsets: begin and end of each token in the text, in characters.
    """
    starts = _character_starts(text)
    found: list[bool] = []
    before = -1
    for begin, end in offsets:
        # Tokens of one character, its bytes, all stand where it begins; only the first of them begins the word.
        found.append(begin != before and any(starts[begin : max(end, begin + 1)]))
        before = begin
    return found


def _character_starts(text: str) -> bytearray:
    starts = bytearray(len(text))
    for word in _WORD.finditer(text):
        starts[word.start()] = 1
    for run in _HAN.finditer(text):
        starts[run.start()] = 1
        for _, begin, _ in _segments(run.group()):
            starts[run.start() + begin] = 1
        if run.end() < len(text) and not text[run.end()].isspace():
            starts[run.end()] = 1
    return starts


def _segments(text: str) -> list[tuple[str, int, int]]:
    """Words of Chinese text with their begin and end."""
    try:
        import rjieba
    except ImportError as error:
        raise DependencyError("Chinese words are found by `rjieba`: run `make install` in the clone of Noria.") from error
    return rjieba.tokenize(text)
