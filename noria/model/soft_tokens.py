"""Tokens without a text of their own, whose embeddings are a learnt prompt: every conversation begins with them."""

from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer

from noria.model.tokenizer import Tokenizer

_TEXT = "<|soft_{}|>"


def with_soft_tokens(tokenizer: Tokenizer, count: int) -> Tokenizer:
    """The tokenizer with `count` soft tokens behind its vocabulary, and a chat template that begins with them."""
    texts = [_TEXT.format(number) for number in range(count)]
    full = FastTokenizer.from_str(tokenizer.to_json())
    full.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in texts])
    return tokenizer.replaced(full, "".join(texts) + tokenizer.chat_template if tokenizer.chat_template else None)


def soft_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids of the soft tokens, in their order; empty where there are none."""
    found: list[int] = []
    while (token_id := tokenizer.added_tokens.get(_TEXT.format(len(found)))) is not None:
        found.append(token_id)
    return tuple(found)
