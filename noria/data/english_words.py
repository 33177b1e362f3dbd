"""Words and sentences of English for datatrove's rules, by two regular expressions.

In: a text. Out: its words, or its sentences. datatrove takes such a tokenizer in the place of a language. Its own for English is spaCy's, which takes
many times as long and counts punctuation marks as words, so that the rule "80 % of the words hold a letter" (Gopher) drops ordinary prose with
numbers and commas; see `docs/decisions/008-corpora.md`.
"""

import re
from itertools import pairwise

from datatrove.utils.word_tokenizers import WordTokenizer

_WORD = re.compile(r"\w+(?:[-'’.]\w+)*")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+")


class EnglishWords(WordTokenizer):
    """A word is a run of letters and digits, joined by hyphens, apostrophes and points inside it."""

    def __init__(self) -> None:
        super().__init__("en")

    def word_tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        return [text[start:end].strip() for start, end in self.span_tokenize(text)]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each sentence: it ends with a full stop, a question or an exclamation mark before white space."""
        borders = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
        return [(start, end) for start, end in pairwise(borders) if text[start:end].strip()]
