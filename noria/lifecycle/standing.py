"""What a model is worth on some rows, in a form that two of them can be compared by in pairs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from noria.data import AnswerExample, EmbedExample, Example
from noria.data.examples import conversation_of
from noria.evaluate.counted import Counted
from noria.evaluate.scores import score
from noria.evaluate.suites import Suite, run_suite
from noria.lifecycle.measure import counted
from noria.schema import Generator

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The metric that a task goes by, with what it is made of row by row."""

    metric: str
    counted: Counted
    groups: Sequence[str]
    """What rows share that are no independent draws."""

    @property
    def score(self) -> float:
        return self.counted.value(self.metric)


def standing_on_rows(task: str, rows: Mapping[int, Example], said: Iterable[Mapping[str, Any]]) -> Standing:
    """Of predictions of rows (by their lines) that have one right answer each."""
    scores = score(task, list(rows.values()), list(said))
    return Standing(metric=scores.main, counted=scores.compared, groups=[group_of(row, str(line)) for line, row in rows.items()])


def standing_on_suite(suite: Suite, generator: Generator, report: Callable[[int, int], None]) -> Standing:
    """Of answers to the items of a suite."""
    run = run_suite(suite, generator, progress=report)
    return Standing(metric=run.kind, counted=counted(run), groups=run.groups)


def reported(found: Iterable[T], total: int, report: Callable[[int, int], object]) -> Iterator[T]:
    """Each of `found` as it comes, told to `report` with how many there were and will be."""
    for number, one in enumerate(found, 1):
        report(number, total)
        yield one


def group_of(row: Example, otherwise: str) -> str:
    """What rows share that are no independent draws: their conversation, or the context or text they ask about."""
    about = row.context if isinstance(row, AnswerExample) else row.text if isinstance(row, EmbedExample) else None
    return conversation_of(row, otherwise) if about is None else str(row.metadata.get("conversation") or about)


def spread(rows: Mapping[int, Example], count: int) -> dict[int, Example]:
    """At most `count` rows, evenly over the file."""
    lines = list(rows)
    kept = lines if len(lines) <= count else [lines[k * len(lines) // count] for k in range(count)]
    return {line: rows[line] for line in kept}
