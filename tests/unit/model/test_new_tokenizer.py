"""Tokenizers that are learnt: from all of the text, as many tokens as it supports, and marks of Chinese as they are written."""

import pytest

from noria.errors import DataError
from noria.model import new_tokenizer, train_tokenizer
from noria.testing.tiny_text import tiny_texts


def test_it_is_learnt_from_all_of_the_text_however_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_tokenizer, "MAX_SAMPLE_BYTES", 4000)
    texts = [*(["the wheel lifts water"] * 500), *(["水车从河流提水"] * 500)]
    sample = new_tokenizer._sample(texts)  # pyright: ignore[reportPrivateUsage]
    assert 1000 < sum(len(text.encode()) for text in sample) <= 4000
    share = sum(text.startswith("水") for text in sample) / len(sample)
    assert 0.3 < share < 0.7


def test_a_vocabulary_larger_than_the_text_supports_is_refused_or_made_smaller() -> None:
    with pytest.raises(DataError, match="The corpus supports .* tokens, not 5000"):
        train_tokenizer("bpe", tiny_texts(), 5000, "clm")
    assert 256 < train_tokenizer("bpe", tiny_texts(), 5000, "clm", at_most=True).vocab_size < 5000


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
def test_chinese_marks_stay_as_they_are_written(kind: str) -> None:
    text = "水车，提水！（昼夜）"
    tokenizer = train_tokenizer(kind, [text] * 50, 400, "denoise" if kind == "unigram" else "mlm-nsp", at_most=True)  # type: ignore[arg-type]
    assert tokenizer.decode(tokenizer.encode(text)).replace(" ", "") == text
