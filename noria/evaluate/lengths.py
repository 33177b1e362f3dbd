"""How many tokens a text may need in a model that has seen little of its script, and what is said where one is too long.

In: a text, or a number of characters. Out: tokens, enough for nearly every text. By SmolLM2, whose vocabulary was made of English: a token is four
letters there, and a Chinese character takes 1.9 tokens.
"""

import math

from noria.errors import ContextOverflowError, DataError

TOKENS_A_STRANGE_CHARACTER, LETTERS_A_TOKEN = 2, 3
SPARE = 16
"""For the end of an answer, and for short texts, which are no average."""
BRIEF_CHARACTERS = (400, 150)
"""A few sentences: letters, and Chinese characters."""


def tokens_for(text: str) -> int:
    """Tokens a text may need."""
    strange = sum(not char.isascii() for char in text)
    return _tokens(len(text) - strange, strange)


def tokens_for_characters(number: int, chinese: bool) -> int:
    """Tokens that so many characters of Chinese, or of a language of letters, may need."""
    return _tokens(0, number) if chinese else _tokens(number, 0)


def brief(chinese: bool) -> tuple[int, int]:
    """The most characters of a few sentences in a language, and the tokens they may need."""
    most = BRIEF_CHARACTERS[chinese]
    return most, tokens_for_characters(most, chinese)


def too_long(place: str, error: ContextOverflowError) -> DataError:
    """What to do about a row that a model's context does not hold."""
    return DataError(
        f"{place}: {error.prompt_tokens} tokens, and the room for an answer, are more than the {error.context_tokens} that the model reads. "
        "Shorten the row, remove it, or name a model with a longer context."
    )


def _tokens(letters: int, strange: int) -> int:
    return SPARE + TOKENS_A_STRANGE_CHARACTER * strange + math.ceil(letters / LETTERS_A_TOKEN)
