"""What predictions of a task are worth, by the field's libraries: scikit-learn, seqeval, SQuAD's measures, ROUGE.

In: rows with what is right, and predictions as `noria predict` writes them, in their order. Out: metrics of the whole file and, of each row, the one
value by which two models are compared in pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from noria.data import AnswerExample, ClassifyExample, Example, TagExample, TextPairExample
from noria.data.task_checks import OUT_OF_SCOPE
from noria.evaluate.metrics import token_f1, words


@dataclass(frozen=True, kw_only=True)
class Scores:
    """`main` names the metric that tuning goes by, and of which `values` are the rows' own."""

    main: str
    metrics: Mapping[str, float]
    values: tuple[float, ...]
    by_class: Mapping[str, Mapping[str, float]] | None = None
    """precision, recall, f1 and support of each label, where there are labels."""


def score(task: str, rows: Sequence[Example], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    """Measure predictions of a task. Raises KeyError for a task without a measure of its own."""
    measures: dict[str, Any] = {"classify": _classified, "tag": _tagged, "answer": _answered, "summarize": _written, "rewrite": _written}
    return measures[task](rows, predictions)


def _classified(rows: Sequence[ClassifyExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    from sklearn import metrics as sklearn

    measured: Any = sklearn

    if any(not isinstance(row.label, str) for row in rows):
        return _several(rows, predictions)
    right, said = [cast(str, row.label) for row in rows], [cast(str, one["label"]) for one in predictions]
    report = cast(dict[str, Any], measured.classification_report(right, said, output_dict=True, zero_division=0))
    metrics = {
        "accuracy": float(measured.accuracy_score(right, said)),
        "macro_f1": float(measured.f1_score(right, said, average="macro", zero_division=0)),
        "matthews": float(measured.matthews_corrcoef(right, said)),
    }
    if any("score" in one for one in predictions):
        metrics["calibration_error"] = calibration_error(
            [float(one["score"]) for one in predictions], [a == b for a, b in zip(right, said, strict=True)]
        )
    outside = [a == OUT_OF_SCOPE for a in right]
    if any(outside) and not all(outside):
        metrics |= {
            "out_of_scope_recall": float(np.mean([b == OUT_OF_SCOPE for b, out in zip(said, outside, strict=True) if out])),
            "in_scope_accuracy": float(np.mean([a == b for a, b in zip(right, said, strict=True) if a != OUT_OF_SCOPE])),
        }
    return Scores(main="accuracy", metrics=metrics, values=tuple(float(a == b) for a, b in zip(right, said, strict=True)), by_class=_classes(report))


def calibration_error(scores: Sequence[float], right: Sequence[bool], num_bins: int = 15) -> float:
    """Expected calibration error: how far apart confidence and accuracy are, over bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((np.asarray(scores) * num_bins).astype(int), num_bins - 1)
    gaps = np.bincount(bins, weights=np.asarray(right, dtype=float) - np.asarray(scores), minlength=num_bins)
    return float(np.abs(gaps).sum() / len(scores))


def _several(rows: Sequence[ClassifyExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    from sklearn import metrics as sklearn
    from sklearn.preprocessing import MultiLabelBinarizer

    measured: Any = sklearn
    right = [{row.label} if isinstance(row.label, str) else set(row.label or ()) for row in rows]
    said = [set(one["labels"]) for one in predictions]
    binarizer = MultiLabelBinarizer().fit([*right, *said])
    x, y = binarizer.transform(right), binarizer.transform(said)
    metrics = {f"{kind}_f1": float(measured.f1_score(x, y, average=kind, zero_division=0)) for kind in ("micro", "macro")}
    metrics["exact"] = sum(a == b for a, b in zip(right, said, strict=True)) / len(rows)
    report = cast(dict[str, Any], measured.classification_report(x, y, target_names=list(binarizer.classes_), output_dict=True, zero_division=0))
    return Scores(main="micro_f1", metrics=metrics, values=tuple(float(a == b) for a, b in zip(right, said, strict=True)), by_class=_classes(report))


def _tagged(rows: Sequence[TagExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    from seqeval import metrics as seqeval
    from seqeval.metrics.sequence_labeling import get_entities

    measured: Any = seqeval  # its types say less than it takes
    right, said = [seqeval_tags(row.tags or ()) for row in rows], [seqeval_tags(one["tags"]) for one in predictions]
    metrics = {
        "f1": float(measured.f1_score(right, said, zero_division=0)),
        "precision": float(measured.precision_score(right, said, zero_division=0)),
        "recall": float(measured.recall_score(right, said, zero_division=0)),
        "token_accuracy": float(measured.accuracy_score(right, said)),
    }
    report = cast(dict[str, Any], measured.classification_report(right, said, output_dict=True, zero_division=0))
    values = tuple(_f1(set(get_entities(x)), set(get_entities(y))) for x, y in zip(right, said, strict=True))
    return Scores(main="f1", metrics=metrics, values=values, by_class=_classes(report))


def seqeval_tags(tags: Sequence[str]) -> list[str]:
    """Tags as seqeval reads them: the middle of BMES is its inside."""
    return [f"I{tag[1:]}" if tag[0] == "M" else tag for tag in tags]


def _answered(rows: Sequence[AnswerExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    exact, overlap = [], []
    for row, one in zip(rows, predictions, strict=True):
        accepted = (row.answers.text if row.answers else ()) or ("",)
        exact.append(max(float(_normal(one["answer"]) == _normal(text)) for text in accepted))
        overlap.append(max(token_f1(one["answer"], text) for text in accepted))
    return Scores(main="f1", metrics={"f1": sum(overlap) / len(rows), "exact_match": sum(exact) / len(rows)}, values=tuple(overlap))


def _written(rows: Sequence[TextPairExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import corpus_bleu

    targets = [row.target or "" for row in rows]
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Characters())
    found = [scorer.score(target, one["target"]) for target, one in zip(targets, predictions, strict=True)]
    metrics = {name: sum(one[name].fmeasure for one in found) / len(rows) for name in ("rouge1", "rouge2", "rougeL")}
    chinese = any("一" <= char <= "鿿" for target in targets for char in target[:50])
    bleu = corpus_bleu([one["target"] for one in predictions], [targets], tokenize="zh" if chinese else "13a")
    return Scores(main="rougeL", metrics={**metrics, "bleu": bleu.score / 100}, values=tuple(one["rougeL"].fmeasure for one in found))


class _Characters:
    """ROUGE's tokens: words of alphabets, single characters of Chinese, Japanese and Korean."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def _classes(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The rows of a classification report that are labels or averages, under the field's names."""
    return {name: {k.replace("f1-score", "f1"): float(v) for k, v in of.items()} for name, of in report.items() if isinstance(of, Mapping)}


def _f1(right: set[Any], said: set[Any]) -> float:
    """Of one row's entities; 1 where there are none and none are said."""
    return 1.0 if not right and not said else 2 * len(right & said) / (len(right) + len(said))


def _normal(text: str) -> list[str]:
    return words(text)
