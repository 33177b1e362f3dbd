"""Tokenizers that are learnt: from all of the text, as many tokens as it supports, and marks of Chinese as they are written."""

from pathlib import Path
from typing import Any

import pytest

from noria.errors import DataError
from noria.model import load_tokenizer, new_tokenizer, train_tokenizer
from noria.model.new_tokenizer import DOCUMENT, special_tokens
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


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
@pytest.mark.parametrize("objective", ["clm", "mlm-nsp", "denoise"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_text_that_looks_like_a_special_token_stays_text(kind: Any, objective: str, known: bool) -> None:
    """Also where the corpus is full of such text, and where the tokenizer knows none of its characters."""
    special = special_tokens(kind, objective)
    hostile = [form.format(token) for token in special for form in ("{}", "a {} b", "x{}y", "{0}{0}", "{} ", "{0} {0}")]
    tokenizer = train_tokenizer(kind, hostile * 5 if known else ["the wheel lifts water"] * 50, 700, objective, at_most=True)
    unknown = {tokenizer.role_id("unk_token")}
    found = {token_id for row in tokenizer.encode_batch(hostile) for token_id in row} & tokenizer.special_ids
    assert found <= (set() if known else unknown)
    assert {token_id for text in hostile for token_id in tokenizer.encode(text)} & tokenizer.special_ids == found


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "characters"])
def test_what_a_decoder_does_not_know_ends_no_document(kind: Any, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(kind, ["the wheel lifts water"] * 50, 60, "clm", at_most=True)
    tokenizer.save(tmp_path)
    for read in (tokenizer, load_tokenizer(tmp_path)):
        ids = read.encode("the 水 wheel")
        assert read.role_id("unk_token") in ids
        assert read.token_id(DOCUMENT) not in ids


CHINESE = ["".join(chr(0x4E00 + (7 * line + 13 * at) % 900) for at in range(60)) for line in range(200)]
"""Written with 900 characters."""


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
@pytest.mark.parametrize("objective", ["mlm-nsp", "denoise"])
def test_a_derived_vocabulary_holds_the_characters_of_the_text(kind: Any, objective: str) -> None:
    tokenizer = train_tokenizer(kind, CHINESE, 512, objective, at_most=True)
    assert not {token_id for row in tokenizer.encode_batch(CHINESE) for token_id in row} & tokenizer.special_ids
    assert 900 < tokenizer.vocab_size < 1600


@pytest.mark.parametrize(("kind", "characters", "least"), [("wordpiece", 900, 905), ("unigram", 902, 907)])
def test_characters_that_a_vocabulary_cannot_hold_are_one_sentence(kind: Any, characters: int, least: int) -> None:
    with pytest.raises(DataError, match=rf"written with {characters} characters.*`vocab_size` = 512.*Set it to {least} or more, or `tokenizer=bpe`"):
        train_tokenizer(kind, CHINESE, 512, "mlm-nsp")
    tokenizer = train_tokenizer(kind, CHINESE, least, "mlm-nsp")
    assert tokenizer.vocab_size == least
    assert not {token_id for row in tokenizer.encode_batch(CHINESE) for token_id in row} & tokenizer.special_ids


def test_characters_inside_of_words_are_counted_as_wordpiece_has_them() -> None:
    """Korean writes words of many syllables, each of which is one token at a word's beginning and another inside of it."""
    texts = [" ".join("".join(chr(0xAC00 + 28 * ((line * 5 + word * 3 + at) % 300)) for at in range(4)) for word in range(15)) for line in range(100)]
    tokenizer = train_tokenizer("wordpiece", texts, 512, "mlm-nsp", at_most=True)
    assert any(token.startswith("##") and len(token) > 3 for token in tokenizer.token_strings()), "pieces of more than a character are learnt"
    with pytest.raises(DataError, match="Set it to 605 or more"):
        train_tokenizer("wordpiece", texts, 512, "mlm-nsp")
