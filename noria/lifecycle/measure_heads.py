"""Measuring tuned folders on the task file they are for, alone or two of them on the same rows.

Intervals of metrics are percentiles over rows drawn anew (Efron and Tibshirani 1993); the comparison goes by each row's own value: exact McNemar
where it is right or wrong, a paired bootstrap where it is a share.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noria.data import Example
from noria.data.task_checks import read_file
from noria.errors import ConfigError
from noria.evaluate.paired import mcnemar_two_sided, minimum_detectable_effect, paired_bootstrap, paired_counts, score_interval
from noria.evaluate.report import details, write_page
from noria.evaluate.scores import Scores, score
from noria.lifecycle.adapt import head_task, run_head
from noria.lifecycle.trial import Progress
from noria.store import write_file

NUM_RESAMPLES = 200
TWO_SIDED = 0.05


def measure_head(model: str, task: str, data: Path, *, against: str | None, out: Path | None, progress: Progress) -> dict[str, Any]:
    """Run a tuned folder (and another) on `data` and report; `out` gets the report, and an HTML page beside it. Raises DataError, ConfigError."""
    kind = head_task(task)
    rows = list(read_file(data, kind).rows.values())
    said = _said(model, kind, rows, progress)
    found = score(kind, rows, said)
    report: dict[str, Any] = {"task": task, "model": model, "data": str(data), "n": len(rows), "main": found.main, "metrics": dict(found.metrics)}
    report |= {"intervals": _intervals(kind, rows, said), "by_class": found.by_class}
    before = None
    if against is not None:
        earlier = _said(against, kind, rows, progress)
        before = earlier, score(kind, rows, earlier)
        report |= {"against": against, "metrics_against": dict(before[1].metrics), **compared(before[1], found)}
    report |= details(rows, said, found, before)
    if out is not None:
        write_file(out, [json.dumps(report, indent=2, ensure_ascii=False) + "\n"])
        write_page(report, out.with_suffix(".html"))
    return report


def compared(before: Scores, after: Scores) -> Mapping[str, Any]:
    """Effect, interval, test and p of two models on the same rows."""
    if set(before.values) | set(after.values) <= {0.0, 1.0}:
        counts = paired_counts([x > 0.5 for x in before.values], [y > 0.5 for y in after.values])
        interval, p = score_interval(counts.gains, counts.losses, counts.n), mcnemar_two_sided(counts.gains, counts.losses)
        differ = max(counts.gains + counts.losses, 1) / counts.n
        detectable = minimum_detectable_effect(counts.n, TWO_SIDED / 2, discordance=differ)
        return {"effect": counts.effect, "interval": interval, "test": "exact McNemar, two-sided", "p": p, "detectable": detectable}
    if len(after.values) < 2:
        raise ConfigError("One row cannot be compared; give two or more.")
    boot = paired_bootstrap(before.values, after.values)
    return {"effect": boot.effect, "interval": boot.interval, "test": "paired bootstrap (BCa), two-sided", "p": min(1.0, 2 * min(boot.p, 1 - boot.p))}


def _said(model: str, task: str, rows: Sequence[Example], progress: Progress) -> list[Mapping[str, Any]]:
    report: Callable[[str, float, float], None] = lambda _, done, total: progress(model, int(done), int(total))  # noqa: E731
    return [one.output for one in run_head(Path(model), task, rows, report)]


def _intervals(task: str, rows: Sequence[Example], said: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    rng = random.Random(0)
    columns: dict[str, list[float]] = {}
    for _ in range(NUM_RESAMPLES):
        drawn = rng.choices(range(len(rows)), k=len(rows))
        for name, value in score(task, [rows[i] for i in drawn], [said[i] for i in drawn]).metrics.items():
            columns.setdefault(name, []).append(value)
    return {name: (sorted(values)[NUM_RESAMPLES // 40], sorted(values)[-NUM_RESAMPLES // 40 - 1]) for name, values in columns.items()}
