"""A comparison as one HTML page: metrics with intervals, curves, a table of every label, confusions, slices, and the rows that tell most.

In: rows, predictions and their scores, of one model or two, and pictures of how the models were trained. Out: `details`, which the JSON report holds
too, and a page without scripts or outside files.
"""

import base64
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader

from noria.data import AnswerExample, ClassifyExample, EmbedExample, Example, ScoreExample, TagExample, TextPairExample
from noria.data.language import is_chinese
from noria.evaluate.scores import Scores
from noria.store import write_file

NUM_EXAMPLES, NUM_CONFUSIONS, MOST_SLICES = 60, 30, 12
MOST_SHOWN = 600
"""Characters of a text."""
NUM_BINS = 10
"""Of equal width, for the curve of how often a model is right that says how sure it is."""
LENGTHS = ("shortest third", "middle third", "longest third")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a row asks and what is right, to be read by a person."""

    text: str
    right: str
    source: str = ""
    label: str = ""
    """By which rows are parted beside their length, language and source."""
    length: int | None = None
    """In characters, of what was asked in all; None: of the text."""
    question: str | None = None
    """By whose script the language is told; None: by the text's."""


def details(
    rows: Sequence[Example], said: Sequence[Mapping[str, Any]], found: Scores, before: tuple[Sequence[Mapping[str, Any]], Scores] | None
) -> dict[str, Any]:
    """Slices, confusions, how far sureness can be trusted, and telling rows: what two models answer differently well, or the one gets wrong."""
    shown = [_shown(row) for row in rows]
    earlier = None if before is None else ([said_of(one) for one in before[0]], before[1].values)
    return {
        "slices": slices(shown, found.values, earlier and earlier[1]),
        "confusions": most_confused(_confused(rows, said)),
        "reliability": _reliability(rows, said, found.values),
        "examples": telling(shown, [said_of(one) for one in said], found.values, earlier),
    }


def _shown(row: Example) -> Shown:
    right = right_of(row)
    return Shown(text=text_of(row), right=right, source=row.source or "", label=right if isinstance(row, ClassifyExample) else "")


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


def slices(rows: Sequence[Shown], values: Sequence[float], earlier: Sequence[float] | None) -> list[dict[str, Any]]:
    """The mean over rows of one length, language, source or label, as far as the file has rows of more than one."""
    lengths = np.array([len(row.text) if row.length is None else row.length for row in rows])
    borders = np.quantile(lengths, [1 / 3, 2 / 3])
    kinds: dict[str, Callable[[int], str]] = {
        "length": lambda i: LENGTHS[int(np.searchsorted(borders, lengths[i]))],
        "language": lambda i: "Chinese" if is_chinese(rows[i].text if (asked := rows[i].question) is None else asked) else "other",
        "source": lambda i: rows[i].source or "unknown",
        "label": lambda i: rows[i].label,
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


def _confused(rows: Sequence[Example], said: Sequence[Mapping[str, Any]]) -> Counter[tuple[str, str]]:
    """What was taken for what: labels, or the tags of tokens."""
    pairs: Counter[tuple[str, str]] = Counter()
    for row, one in zip(rows, said, strict=True):
        if isinstance(row, ClassifyExample) and isinstance(row.label, str) and "label" in one:
            pairs[row.label, str(one["label"])] += 1
        elif isinstance(row, TagExample):
            pairs.update(zip(row.tags or (), one["tags"], strict=True))
    return pairs


def most_confused(pairs: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    """What was right and what was said instead, the most frequent first."""
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


def telling(
    rows: Sequence[Shown], said: Sequence[str], values: Sequence[float], before: tuple[Sequence[str], Sequence[float]] | None
) -> list[dict[str, Any]]:
    """Rows that two models answer differently well, the largest differences first from both ends; of one model those that it gets wrong."""
    earlier = [1.0] * len(rows) if before is None else before[1]
    order = sorted((i for i in range(len(rows)) if values[i] != earlier[i]), key=lambda i: values[i] - earlier[i])
    made: list[dict[str, Any]] = []
    for i in order if len(order) <= NUM_EXAMPLES else [*order[: NUM_EXAMPLES // 2], *order[-NUM_EXAMPLES // 2 :]]:
        row = {"text": rows[i].text[:MOST_SHOWN], "right": rows[i].right[:MOST_SHOWN], "said": said[i][:MOST_SHOWN], "value": values[i]}
        made.append(row if before is None else row | {"said_against": before[0][i][:MOST_SHOWN], "value_against": earlier[i]})
    return made
