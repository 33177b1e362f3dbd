"""A comparison as one HTML page: metrics with intervals, curves, a table of every label, confusions, slices, and the rows that tell most.

In: rows, predictions and their scores, of one model or two, and pictures of how the models were trained. Out: `details`, which the JSON report holds
too, and a page without scripts or outside files.
"""

import base64
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from noria.data import AnswerExample, ClassifyExample, EmbedExample, Example, ScoreExample, TagExample, TextPairExample
from noria.data.language import is_chinese
from noria.evaluate.scores import Scores
from noria.store import write_file

NUM_EXAMPLES, NUM_CONFUSIONS, MOST_SLICES = 60, 30, 12
NUM_BINS = 10
"""Of equal width, for the curve of how often a model is right that says how sure it is."""
LENGTHS = ("shortest third", "middle third", "longest third")


def details(
    rows: Sequence[Example], said: Sequence[Mapping[str, Any]], found: Scores, before: tuple[Sequence[Mapping[str, Any]], Scores] | None
) -> dict[str, Any]:
    """Slices, confusions, how far sureness can be trusted, and telling rows: what two models answer differently well, or the one gets wrong."""
    earlier = None if before is None else before[1].values
    return {
        "slices": _slices(rows, found.values, earlier),
        "confusions": _confusions(rows, said),
        "reliability": _reliability(rows, said, found.values),
        "examples": _examples(rows, said, found.values, before),
    }


def write_page(report: Mapping[str, Any], path: Path, curves: Mapping[str, bytes]) -> None:
    """Write the page of a report. Raises StoreError.

    Args:
        curves: SVG pictures of how models were trained, by their names; shown as pictures, so that a stranger's file runs no script.
    """
    pictures = {name: base64.b64encode(picture).decode() for name, picture in curves.items()}
    environment = Environment(loader=PackageLoader("noria.evaluate", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_file(path, [environment.get_template("report.html.jinja").render(report, curves=pictures)])


def text_of(row: Example) -> str:
    """What a row asks, to be read by a person."""
    if isinstance(row, ClassifyExample | ScoreExample):
        return row.text if row.text_pair is None else f"{row.text} / {row.text_pair}"
    if isinstance(row, TagExample):
        return " ".join(row.tokens)
    if isinstance(row, AnswerExample):
        return f"{row.question} ({row.context})"
    return row.text if isinstance(row, TextPairExample | EmbedExample) else str(row)


def right_of(row: Example) -> str:
    """What is right, to be read by a person."""
    if isinstance(row, ClassifyExample):
        return row.label if isinstance(row.label, str) else ", ".join(row.label or ())
    if isinstance(row, ScoreExample):
        return f"{row.score:g}" if row.score is not None else ""
    if isinstance(row, TagExample):
        return " ".join(row.tags or ())
    if isinstance(row, AnswerExample):
        return " | ".join(row.answers.text) if row.answers and row.answers.text else "(none)"
    if isinstance(row, EmbedExample):
        return row.positive or ""
    return (row.target or "") if isinstance(row, TextPairExample) else ""


def said_of(prediction: Mapping[str, Any]) -> str:
    """A prediction, to be read by a person."""
    for name in ("label", "answer", "target"):
        if name in prediction:
            return str(prediction[name]) or "(none)"
    if set(prediction) == {"score"}:
        return f"{prediction['score']:g}"
    values = prediction.get("labels", prediction.get("tags", ()))
    return ", ".join(values) if "labels" in prediction else " ".join(values)


def _slices(rows: Sequence[Example], values: Sequence[float], earlier: Sequence[float] | None) -> list[dict[str, Any]]:
    lengths = np.array([len(text_of(row)) for row in rows])
    borders = np.quantile(lengths, [1 / 3, 2 / 3])
    kinds: dict[str, Callable[[int], str]] = {
        "length": lambda i: LENGTHS[int(np.searchsorted(borders, lengths[i]))],
        "language": lambda i: "Chinese" if is_chinese(text_of(rows[i])) else "other",
        "source": lambda i: rows[i].source or "unknown",
        "label": lambda i: right_of(rows[i]) if isinstance(rows[i], ClassifyExample) else "",
    }
    made: list[dict[str, Any]] = []
    for kind, name_of in kinds.items():
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for index in range(len(rows)):
            groups[name_of(index)].append(index)
        if len(groups) > 1:
            chosen = sorted(groups.items(), key=lambda group: -len(group[1]))[:MOST_SLICES]
            made += [_slice(kind, name, members, values, earlier) for name, members in chosen]
    return made


def _slice(kind: str, name: str, members: Sequence[int], values: Sequence[float], earlier: Sequence[float] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"slice": kind, "name": name, "n": len(members), "mean": float(np.mean([values[i] for i in members]))}
    return row if earlier is None else row | {"mean_against": float(np.mean([earlier[i] for i in members]))}


def _confusions(rows: Sequence[Example], said: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was taken for what, the most frequent first: labels, or the tags of tokens."""
    pairs: Counter[tuple[str, str]] = Counter()
    for row, one in zip(rows, said, strict=True):
        if isinstance(row, ClassifyExample) and isinstance(row.label, str) and "label" in one:
            pairs[row.label, str(one["label"])] += 1
        elif isinstance(row, TagExample):
            pairs.update(zip(row.tags or (), one["tags"], strict=True))
    wrong = [(pair, count) for pair, count in pairs.most_common() if pair[0] != pair[1]]
    return [{"right": right, "said": given, "n": count} for (right, given), count in wrong[:NUM_CONFUSIONS]]


def _reliability(rows: Sequence[Example], said: Sequence[Mapping[str, Any]], values: Sequence[float]) -> list[dict[str, float]]:
    """Of labels that were said with a probability: how sure the model was and how often it was right, for each bin that has rows."""
    sure = [float(one["score"]) for row, one in zip(rows, said, strict=True) if isinstance(row, ClassifyExample) and {"label", "score"} <= one.keys()]
    if len(sure) != len(rows):
        return []
    bins = np.minimum((np.array(sure) * NUM_BINS).astype(int), NUM_BINS - 1)
    members = [np.flatnonzero(bins == place) for place in range(NUM_BINS)]
    return [
        {"n": len(of), "confidence": float(np.mean(np.array(sure)[of])), "accuracy": float(np.mean(np.array(values)[of]))}
        for of in members
        if len(of)
    ]


def _examples(
    rows: Sequence[Example], said: Sequence[Mapping[str, Any]], values: Sequence[float], before: tuple[Sequence[Mapping[str, Any]], Scores] | None
) -> list[dict[str, Any]]:
    earlier = [1.0] * len(rows) if before is None else before[1].values
    order = sorted((i for i in range(len(rows)) if values[i] != earlier[i]), key=lambda i: values[i] - earlier[i])
    made: list[dict[str, Any]] = []
    for i in order if len(order) <= NUM_EXAMPLES else [*order[: NUM_EXAMPLES // 2], *order[-NUM_EXAMPLES // 2 :]]:
        row = {"text": text_of(rows[i])[:600], "right": right_of(rows[i])[:600], "said": said_of(said[i])[:600], "value": values[i]}
        made.append(row if before is None else row | {"said_against": said_of(before[0][i])[:600], "value_against": earlier[i]})
    return made
