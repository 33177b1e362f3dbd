"""What predictions of a task are worth, by the field's libraries: scikit-learn, seqeval, SQuAD's measures, ROUGE.

In: rows with what is right, and predictions as `noria predict` writes them, in their order. Out: metrics of the whole file, what each is made of row
by row (`counted`), and of each row a value of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from noria.data import AnswerExample, ClassifyExample, EmbedExample, Example, ScoreExample, TagExample, TextPairExample
from noria.data.language import is_chinese
from noria.data.task_checks import OUT_OF_SCOPE
from noria.evaluate import counted
from noria.evaluate.counted import Counted, Floats
from noria.evaluate.metrics import exact_match, token_f1, words

BEST = 10
"""Places that count where something is looked for."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """`main` names the metric that tuning goes by and by which two models are compared."""

    main: str
    metrics: Mapping[str, float]
    made: tuple[Counted, ...]
    """What the metrics are made of: together they hold every one."""
    values: tuple[float, ...]
    """How good each row is by itself, for slices and for the rows that tell most."""
    by_class: Mapping[str, Mapping[str, float]] | None = None
    """precision, recall, f1 and support of each label, where there are labels."""

    @property
    def compared(self) -> Counted:
        """What `main` is made of."""
        return next(one for one in self.made if self.main in one.metrics)


def score(task: str, rows: Sequence[Example], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    """Measure predictions of a task. Raises KeyError for a task without a measure of its own."""
    measures: dict[str, Any] = {
        "classify": _classified,
        "score": _scored,
        "embed": _embedded,
        "tag": _tagged,
        "answer": _answered,
        "summarize": _written,
        "rewrite": _written,
    }
    return measures[task](rows, predictions)


def _classified(rows: Sequence[ClassifyExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    from sklearn import metrics as sklearn

    measured: Any = sklearn

    if any("labels" in one for one in predictions):
        return _several(rows, predictions)
    right, said = [cast(str, row.label) for row in rows], [cast(str, one["label"]) for one in predictions]
    report = cast(dict[str, Any], measured.classification_report(right, said, output_dict=True, zero_division=0))
    metrics = {
        "accuracy": float(measured.accuracy_score(right, said)),
        "macro_f1": float(measured.f1_score(right, said, average="macro", zero_division=0)),
        "matthews": float(measured.matthews_corrcoef(right, said)),
    }
    hits = [a == b for a, b in zip(right, said, strict=True)]
    made = [Counted.passed("accuracy", hits), _by_label([{label} for label in right], [{label} for label in said], ("macro_f1", "matthews"))]
    if any("score" in one for one in predictions):
        scores = [float(one["score"]) for one in predictions]
        metrics["calibration_error"] = calibration_error(scores, hits)
        made.append(_calibrated(scores, hits))
    outside = [a == OUT_OF_SCOPE for a in right]
    if any(outside) and not all(outside):
        made += [Counted.passed("out_of_scope_recall", hits, outside), Counted.passed("in_scope_accuracy", hits, [not out for out in outside])]
        metrics |= {name: one.value(name) for one in made[-2:] for name in one.metrics}
    return Scores(main="accuracy", metrics=metrics, made=tuple(made), values=tuple(map(float, hits)), by_class=_classes(report))


def calibration_error(scores: Sequence[float], right: Sequence[bool], num_bins: int = 15) -> float:
    """Expected calibration error: how far apart confidence and accuracy are, over bins of equal width (Guo et al. 2017)."""
    return _calibrated(scores, right, num_bins).value("calibration_error")


def _calibrated(scores: Sequence[float], right: Sequence[bool], num_bins: int = 15) -> Counted:
    """Columns: the gap of each bin, and the rows."""
    bins = np.minimum((np.asarray(scores) * num_bins).astype(int), num_bins - 1)
    counts = np.zeros((len(scores), num_bins + 1))
    counts[np.arange(len(scores)), bins] = np.asarray(right, dtype=float) - np.asarray(scores)
    counts[:, -1] = 1
    return Counted.of("ratio", counts, {"calibration_error": lambda sums: np.abs(sums[..., :-1]).sum(-1) / sums[..., -1]})


def _by_label(right: Sequence[set[str]], said: Sequence[set[str]], names: Sequence[str]) -> Counted:
    """Columns: hits of each label, how often it was said, how often it is right; rows with the same labels are one cell."""
    places = {label: place for place, label in enumerate(sorted(set().union(*right, *said)))}
    keys = [(frozenset(x), frozenset(y)) for x, y in zip(right, said, strict=True)]
    cells = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    counts = np.zeros((len(cells), 3, max(1, len(places))))
    for (x, y), cell in cells.items():
        for column, labels in enumerate((x & y, y, x)):
            counts[cell, column, [places[label] for label in labels]] = 1
    table, cell_of = counts.reshape(len(cells), -1), np.array([cells[key] for key in keys], dtype=np.intp)
    whole = np.bincount(cell_of, minlength=len(cells)) @ table
    metrics: dict[str, counted.Statistic] = {"macro_f1": counted.macro_f1(whole), "matthews": counted.matthews}
    return Counted(kind="ratio", metrics={name: metrics[name] for name in names}, cells=table, cell_of=cell_of)


def _several(rows: Sequence[ClassifyExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    from sklearn import metrics as sklearn
    from sklearn.preprocessing import MultiLabelBinarizer

    measured: Any = sklearn
    right = [{row.label} if isinstance(row.label, str) else set(row.label or ()) for row in rows]
    said = [set(cast(Sequence[str], one["labels"])) for one in predictions]
    binarizer = MultiLabelBinarizer().fit([*right, *said])
    names = [str(name) for name in binarizer.classes_]
    # A column of nobody's: one label alone would be read as two classes.
    x, y = (np.pad(cast(Any, binarizer.transform(labels)), ((0, 0), (0, 1))) for labels in (right, said))
    same = [a == b for a, b in zip(right, said, strict=True)]
    found = Counted.of("ratio", [(len(a & b), len(b), len(a)) for a, b in zip(right, said, strict=True)], {"micro_f1": counted.f1})
    told = {"labels": range(len(names)), "target_names": names, "output_dict": True, "zero_division": 0}
    report = cast(dict[str, Any], measured.classification_report(x, y, **told)) if names else {}
    made = found, _by_label(right, said, ("macro_f1",)), Counted.passed("exact", same)
    metrics = {name: one.value(name) for one in made for name in one.metrics}
    return Scores(main="micro_f1", metrics=metrics, made=made, values=tuple(map(float, same)), by_class=_classes(report))


def _scored(rows: Sequence[ScoreExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    """Pearson's and Spearman's correlation (of constants 0), and the errors in the unit of the scores."""
    from scipy.stats import rankdata

    right, said = np.array([row.score for row in rows], dtype=float), np.array([float(one["score"]) for one in predictions])
    errors = np.abs(right - said)
    made = (
        _correlated("pearson", right, said),
        _correlated("spearman", rankdata(right), rankdata(said)),
        Counted.mean("mean_absolute_error", errors),
        Counted.of("ratio", np.column_stack([errors**2, np.ones(len(rows))]), {"root_mean_square_error": lambda sums: np.sqrt(counted.share(sums))}),
    )
    metrics = {name: one.value(name) for one in made for name in one.metrics}
    return Scores(main="spearman", metrics=metrics, made=made, values=tuple((-errors).tolist()))


def _correlated(name: str, x: Floats, y: Floats) -> Counted:
    """Columns: x, y, their squares, their product, and the rows; both off their means and in their own spread, so that sums lose nothing."""
    x, y = ((of - of.mean()) / (of.std() or 1.0) for of in (x, y))
    return Counted.of("ratio", np.column_stack([x, y, x * x, y * y, x * y, np.ones(len(x))]), {name: counted.correlation})


def _embedded(rows: Sequence[EmbedExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    """How high each text's own positive stands among all different positives of the file, by the product of the vectors.

    What also belongs to an equal text is left out, as in training: it is no mistake to be near it.
    """
    place_of = {text: place for place, text in enumerate(dict.fromkeys(row.positive for row in rows))}
    found = np.zeros((len(place_of), len(predictions[0]["embedding"])), dtype=np.float32)
    belonging: dict[str, set[int]] = {}
    for row, one in zip(rows, predictions, strict=True):
        found[place_of[row.positive]] = one["positive"]
        belonging.setdefault(row.text, set()).add(place_of[row.positive])
    ranks = np.array(
        [
            _rank(found @ np.asarray(one["embedding"], np.float32), place_of[row.positive], belonging[row.text])
            for row, one in zip(rows, predictions, strict=True)
        ]
    )
    gains = np.where(ranks <= BEST, 1 / np.log2(ranks + 1), 0.0)
    made = (
        Counted.mean("ndcg_at_10", gains),
        Counted.mean("mrr", 1 / ranks),
        *(Counted.passed(f"recall_at_{k}", (ranks <= k).tolist()) for k in (1, 5, BEST)),
    )
    metrics = {name: one.value(name) for one in made for name in one.metrics}
    return Scores(main="ndcg_at_10", metrics=metrics, made=made, values=tuple(gains.tolist()))


def _rank(likeness: NDArray[np.float32], own: int, belonging: set[int]) -> int:
    """The place of one among all but the others of `belonging`, from 1; of those equally alike it stands last."""
    ahead = likeness >= likeness[own]
    ahead[list(belonging - {own})] = False
    return int(ahead.sum())


def _tagged(rows: Sequence[TagExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    from seqeval import metrics as seqeval
    from seqeval.metrics.sequence_labeling import get_entities

    measured: Any = seqeval  # its types say less than it takes
    right, said = [seqeval_tags(row.tags or ()) for row in rows], [seqeval_tags(one["tags"]) for one in predictions]
    found = [(set(get_entities(x)), set(get_entities(y))) for x, y in zip(right, said, strict=True)]
    counts = [(len(x & y), len(y), len(x)) for x, y in found]
    tokens = [(sum(a == b for a, b in zip(x, y, strict=True)), len(x)) for x, y in zip(right, said, strict=True)]
    made = (
        Counted.of("ratio", counts, {"f1": counted.f1, "precision": counted.precision, "recall": counted.recall}),
        Counted.of("ratio", tokens, {"token_accuracy": counted.share}),
    )
    metrics = {name: one.value(name) for one in made for name in one.metrics}
    by_class: dict[str, dict[str, float]] = {}
    if any(said or right for _, said, right in counts):  # seqeval divides by nothing where there is no entity at all
        by_class = _classes(cast(dict[str, Any], measured.classification_report(right, said, output_dict=True, zero_division=0)))
    return Scores(main="f1", metrics=metrics, made=made, values=tuple(_f1(x, y) for x, y in found), by_class=by_class)


def seqeval_tags(tags: Sequence[str]) -> list[str]:
    """Tags as seqeval reads them: the middle of BMES is its inside."""
    return [f"I{tag[1:]}" if tag[0] == "M" else tag for tag in tags]


def _answered(rows: Sequence[AnswerExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    exact: list[float] = []
    overlap: list[float] = []
    for row, one in zip(rows, predictions, strict=True):
        accepted = (row.answers.text if row.answers else ()) or ("",)
        exact.append(max(exact_match(one["answer"], text) for text in accepted))
        overlap.append(max(token_f1(one["answer"], text) for text in accepted))
    made = Counted.mean("f1", overlap), Counted.passed("exact_match", [one == 1 for one in exact])
    return Scores(main="f1", metrics={"f1": sum(overlap) / len(rows), "exact_match": sum(exact) / len(rows)}, made=made, values=tuple(overlap))


def _written(rows: Sequence[TextPairExample], predictions: Sequence[Mapping[str, Any]]) -> Scores:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import corpus_bleu

    targets, said = [row.target or "" for row in rows], [str(one["target"]) for one in predictions]
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_Characters())
    found = [scorer.score(target, text) for target, text in zip(targets, said, strict=True)]
    rouge = {name: [one[name].fmeasure for one in found] for name in ("rouge1", "rouge2", "rougeL")}
    tokenize = "zh" if any(map(is_chinese, targets)) else "13a"  # without spaces, a Chinese sentence is one word to the other
    bleu = corpus_bleu(said, [targets], tokenize=tokenize)
    made = *(Counted.mean(name, values) for name, values in rouge.items()), _bleu_counts(targets, said, tokenize)
    metrics = {name: sum(values) / len(rows) for name, values in rouge.items()} | {"bleu": bleu.score / 100}
    return Scores(main="rougeL", metrics=metrics, made=made, values=tuple(rouge["rougeL"]))


def _bleu_counts(targets: Sequence[str], said: Sequence[str], tokenize: str) -> Counted:
    """Columns: n-grams that are right for n of 1 to 4, n-grams said, the length of what was said and of what is right."""
    from sacrebleu.metrics.bleu import BLEU

    scorer = BLEU(tokenize=tokenize, effective_order=True)
    found = [scorer.sentence_score(text, [target]) for target, text in zip(targets, said, strict=True)]
    counts = [(*one.counts, *one.totals, one.sys_len, one.ref_len) for one in found]

    def bleu(sums: counted.Floats) -> counted.Floats:
        rows = sums.reshape(-1, 10).astype(int).tolist()
        scores = [BLEU.compute_bleu(row[:4], row[4:8], row[8], row[9], smooth_method="exp").score / 100 for row in rows]
        return np.array(scores).reshape(sums.shape[:-1])

    return Counted.of("ratio", counts, {"bleu": bleu})


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
