"""A small bilingual corpus and shards of it, for tests of pre-training."""

import random
from collections.abc import Sequence
from pathlib import Path

from noria.data import Encoded, Shards, write_shards

WORDS = ("the", "wheel", "lifts", "water", "stream", "turns", "水车", "提水", "河流", "转动")


def tiny_texts(num_documents: int = 80, num_words: int = 30, seed: int = 0) -> list[str]:
    """Documents of sentences of four words."""
    rng = random.Random(seed)
    sentences = (" ".join(rng.choices(WORDS, k=4)) + "." for _ in range(num_documents * num_words // 4))
    return [" ".join(next(sentences) for _ in range(num_words // 4)) for _ in range(num_documents)]


def shards_of(folder: Path, documents: Sequence[Sequence[int]], words: Sequence[Sequence[bool]] | None = None, vocab_size: int = 1000) -> Shards:
    """Shards whose training split is these token ids."""
    starts = words or [None] * len(documents)
    encoded = [Encoded(token_ids=ids, num_bytes=4 * len(ids), word_starts=where) for ids, where in zip(documents, starts, strict=True)]
    return write_shards(folder, (("train", document) for document in encoded), vocab_size)
