"""Words and SQuAD's measures, against the rules of its definition written down once more."""

import random
import re
import string
from collections import Counter

import pytest

from noria.evaluate.metrics import exact_match, squad_words, token_f1, words


def reference_tokens(text: str) -> list[str]:
    """SQuAD 1.1's normalization, step by step as its paper's script orders them: small, no punctuation, no articles, split."""
    kept = "".join(char for char in text.lower() if char not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split()).split()


def reference_f1(answer: str, right: str) -> float:
    got, want = reference_tokens(answer), reference_tokens(right)
    same = sum((Counter(got) & Counter(want)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(got), same / len(want)
    return 2 * precision * recall / (precision + recall)


PIECES = (
    "the",
    "The",
    "a",
    "an",
    "Duke",
    "duke",
    "U.S.",
    "don't",
    "well-known",
    "$3.5",
    "of",
    "York",
    "theory",
    ",",
    "-",
    "  ",
    "É",
    "“quoted”",
    "x_y",
)


def test_english_agrees_with_the_definition_to_the_last_digit() -> None:
    rng = random.Random(1)
    seen = 0
    for _ in range(4_000):
        answer, right = (" ".join(rng.choices(PIECES, k=rng.randrange(1, 7))) for _ in range(2))
        if reference_tokens(answer) or reference_tokens(right):
            seen += 1
            assert squad_words(answer) == reference_tokens(answer)
            assert exact_match(answer, right) == float(reference_tokens(answer) == reference_tokens(right))
            assert token_f1(answer, right) == pytest.approx(reference_f1(answer, right))
    assert seen > 3_500


@pytest.mark.parametrize(
    ("answer", "right", "exact", "overlap"),
    [
        ("the Duke", "Duke", 1, 1),
        ("北京。", "北京", 1, 1),
        ("《红楼梦》", "红楼梦", 1, 1),
        ("北京市", "北京", 0, 0.8),
        ("iPhone手机", "iphone 手机", 1, 1),
        ("+", "-", 0, 0),
        ("+", "", 0, 0),
        ("", "", 1, 1),
        (" + ", "+", 1, 1),
        ("Duke", "", 0, 0),
    ],
)
def test_written_out_answers(answer: str, right: str, exact: float, overlap: float) -> None:
    assert exact_match(answer, right) == exact
    assert token_f1(answer, right) == pytest.approx(overlap)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("iPhone手机", ["iphone", "手", "机"]),
        ("第3章abc", ["第", "3", "章", "abc"]),
        ("すし屋", ["す", "し", "屋"]),
        ("서울 city", ["서", "울", "city"]),
        ("The naïve cat.", ["the", "naïve", "cat"]),
    ],
)
def test_words_of_mixed_scripts(text: str, told: list[str]) -> None:
    assert words(text) == told
