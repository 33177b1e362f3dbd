"""Words: in English by spaces and marks, in Chinese by segments, whatever the tokenizer cuts."""

import pytest

from noria.data import word_starts
from noria.model import train_tokenizer
from noria.testing.tiny_text import tiny_texts


def words(text: str, starts: list[bool]) -> list[str]:
    out: list[str] = []
    for character, begins in zip(text, starts, strict=True):
        if begins or not out:
            out.append("")
        out[-1] += character
    return [word.strip() for word in out]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The wheel turns, 24 hours.", ["The", "wheel", "turns", ",", "24", "hours", "."]),
        ("我们在北京大学学习。", ["我们", "在", "北京大学", "学习", "。"]),
        ("用Python写的水车", ["用", "Python", "写", "的", "水车"]),
    ],
)
def test_words_by_character(text: str, expected: list[str]) -> None:
    assert words(text, word_starts(text, [(i, i + 1) for i in range(len(text))])) == expected


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "characters"])
def test_every_tokenizers_tokens_know_where_words_begin(kind: str) -> None:
    texts = tiny_texts()
    tokenizer = train_tokenizer(kind, texts, 40 if kind == "unigram" else 300 if kind == "bpe" else 60, "mlm-nsp")  # type: ignore[arg-type]
    text = "the wheel lifts water. 河流 转动."
    ids, offsets = tokenizer.encode_with_offsets([text])[0]
    starts = word_starts(text, offsets)
    assert len(starts) == len(ids)
    assert sum(starts) == len(["the", "wheel", "lifts", "water", ".", "河流", "转动", "."])


def test_the_bytes_of_a_rare_character_are_one_word() -> None:
    tokenizer = train_tokenizer("bpe", ["the wheel lifts water"] * 9, 270, "mlm-nsp")
    ids, offsets = tokenizer.encode_with_offsets(["大家好"])[0]
    assert len(ids) == 9
    assert word_starts("大家好", offsets) == [True, False, False, False, False, False, True, False, False]
