"""Metrics are those of the field's libraries, on cases written out by hand."""

import random

import numpy as np
import pytest
from scipy import stats
from seqeval.metrics import classification_report

from noria.data import AnswerExample, ClassifyExample, EmbedExample, ScoreExample, TagExample, TextPairExample
from noria.data.examples import Answers
from noria.evaluate.report import details
from noria.evaluate.scores import calibration_error, score, seqeval_tags


def random_tags(rng: random.Random, length: int) -> list[str]:
    """Rows in BMES that end what they begin."""
    tags: list[str] = []
    while len(tags) < length:
        kind, size = rng.choice(["NAME", "ORG", "TITLE"]), rng.randrange(1, 5)
        if rng.random() < 0.4:
            tags.append("O")
        elif size == 1:
            tags.append(f"S-{kind}")
        else:
            tags += [f"B-{kind}", *[f"M-{kind}"] * (size - 2), f"E-{kind}"]
    return tags


def test_the_report_of_a_tagger_is_seqevals_to_the_last_digit() -> None:
    rng = random.Random(1)
    right = [random_tags(rng, 20) for _ in range(30)]
    said = [tags if rng.random() < 0.5 else random_tags(rng, len(tags))[: len(tags)] + ["O"] * 0 for tags in right]
    said = [[*tags, *["O"] * (len(row) - len(tags))][: len(row)] for tags, row in zip(said, right, strict=True)]
    rows = [TagExample(tokens=tuple("字" for _ in tags), tags=tuple(tags)) for tags in right]
    found = score("tag", rows, [{"tags": tags} for tags in said])
    theirs = classification_report([seqeval_tags(t) for t in right], [seqeval_tags(t) for t in said], output_dict=True, zero_division=0)
    assert found.by_class is not None
    assert set(found.by_class) == set(theirs)
    for name, row in theirs.items():
        assert {**found.by_class[name]} == {"precision": row["precision"], "recall": row["recall"], "f1": row["f1-score"], "support": row["support"]}
    assert found.metrics["f1"] == theirs["micro avg"]["f1-score"]


def test_labels() -> None:
    rows = [ClassifyExample(text="t", label=label) for label in ("a", "a", "b", "out_of_scope")]
    found = score("classify", rows, [{"label": label, "score": 0.9} for label in ("a", "b", "b", "out_of_scope")])
    assert found.metrics["accuracy"] == 0.75
    assert found.metrics["out_of_scope_recall"] == 1
    assert found.metrics["in_scope_accuracy"] == pytest.approx(2 / 3)
    assert found.values == (1, 0, 1, 1)


def test_several_labels() -> None:
    rows = [ClassifyExample(text="t", label=("a", "b")), ClassifyExample(text="t", label=())]
    found = score("classify", rows, [{"labels": ["a"], "scores": [0.9]}, {"labels": [], "scores": []}])
    assert found.metrics["micro_f1"] == pytest.approx(2 / 3)
    assert found.metrics["exact"] == 0.5


def test_several_labels_of_which_there_is_one() -> None:
    rows = [ClassifyExample(text="t", label=("spam",)), ClassifyExample(text="t", label=()), ClassifyExample(text="t", label=("spam",))]
    found = score("classify", rows, [{"labels": ["spam"]}, {"labels": ["spam"]}, {"labels": []}])
    assert found.metrics == {"micro_f1": 0.5, "macro_f1": 0.5, "exact": pytest.approx(1 / 3)}
    assert found.by_class is not None
    assert found.by_class["spam"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}


def test_what_was_predicted_says_which_kind_of_labels_a_file_has() -> None:
    rows = [ClassifyExample(text="t", label="a"), ClassifyExample(text="t", label=("a", "b"))]
    said = [{"labels": ["a"]}, {"labels": ["a", "b"]}]
    found = score("classify", rows, said)
    assert found.metrics["exact"] == 1
    assert details(rows, said, found, None)["confusions"] == []


def test_numbers_are_measured_as_scipy_does() -> None:
    rng = np.random.default_rng(3)
    right = rng.integers(0, 5, 60).astype(float)
    said = right + rng.normal(0, 1, 60)
    found = score("score", [ScoreExample(text="t", score=y) for y in right], [{"score": x} for x in said])
    assert found.main == "spearman"
    assert found.metrics == pytest.approx({
        "pearson": stats.pearsonr(right, said).statistic,
        "spearman": stats.spearmanr(right, said).statistic,
        "mean_absolute_error": np.abs(right - said).mean(),
        "root_mean_square_error": np.sqrt(np.square(right - said).mean()),
    })  # fmt: skip
    assert score("score", [ScoreExample(text="t", score=y) for y in right], [{"score": 1.0}] * 60).metrics["spearman"] == 0


def test_a_positive_is_looked_for_among_all_of_the_file() -> None:
    """The second row's own positive is third: two others are more like its text. Equal positives are one."""
    rows = [EmbedExample(text=f"t{number}", positive=name) for number, name in enumerate(("a", "b", "c", "a"))]
    places = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.6, 0.8]}
    asked = [[1.0, 0.0], [0.9, 0.1], [0.6, 0.8], [0.0, 1.0]]
    found = score("embed", rows, [{"embedding": vector, "positive": places[str(row.positive)]} for row, vector in zip(rows, asked, strict=True)])
    assert found.main == "ndcg_at_10"
    assert found.values == pytest.approx([1, 0.5, 1, 0.5])
    assert found.metrics["mrr"] == pytest.approx((1 + 1 / 3 + 1 + 1 / 3) / 4)
    assert (found.metrics["recall_at_1"], found.metrics["recall_at_5"]) == (0.5, 1.0)


def test_another_positive_of_an_equal_text_is_no_rival() -> None:
    """Both belong to the text; the positive of another text, between them, is a rival of the second."""
    rows = [EmbedExample(text=text, positive=name) for text, name in (("t", "a"), ("t", "b"), ("u", "c"), ("t", "b"))]
    places = {"a": [1.0, 0.0], "b": [0.6, 0.8], "c": [0.8, 0.6]}
    asked = {"t": [1.0, 0.0], "u": [0.8, 0.6]}
    found = score("embed", rows, [{"embedding": asked[row.text], "positive": places[str(row.positive)]} for row in rows])
    assert found.metrics["mrr"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 2) / 4)


def test_answers_in_both_languages() -> None:
    rows = [
        AnswerExample(question="Who?", context="It was the Duke of York.", answers=Answers(text=("the Duke",), answer_start=(7,))),
        AnswerExample(question="在哪里？", context="他住在北京。", answers=Answers(text=("北京",), answer_start=(3,))),
        AnswerExample(question="Why?", context="Nobody knows.", answers=Answers(text=(), answer_start=())),
    ]
    found = score("answer", rows, [{"answer": "Duke"}, {"answer": "北京。"}, {"answer": ""}])
    assert found.values == (1.0, 1.0, 1.0)
    assert found.metrics["exact_match"] == 1


def test_summaries_in_chinese_count_characters() -> None:
    found = score("summarize", [TextPairExample(text="……", target="今天天气很好")], [{"target": "天气很好"}])
    assert found.metrics["rouge1"] == pytest.approx(2 * 1 * (4 / 6) / (1 + 4 / 6))


def test_bleu_reads_chinese_among_other_languages() -> None:
    """However few rows it is, and wherever they stand: without spaces, all of a sentence would be one word, which is wrong if a character is."""
    english = [("The river runs by the old mill today.", "No.")] * 501
    chinese = [("今天的天气非常好，我们去河边走走。", "今天的天气非常好，我们去河边看看。")] * 9
    found = score(
        "rewrite", [TextPairExample(text="t", target=right) for right, _ in english + chinese], [{"target": said} for _, said in english + chinese]
    )
    assert found.metrics["bleu"] > 0
    precise = next(one for one in found.made if "bleu" in one.metrics).cells[:, 0].max()
    assert precise >= 14, "characters of a Chinese row that are right"


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    assert calibration_error([0.8] * 10, [True] * 8 + [False] * 2) == pytest.approx(0)
    assert calibration_error([0.9, 0.9, 0.3, 0.3], [True, False, True, False]) == pytest.approx((0.4 * 2 + 0.2 * 2) / 4)
