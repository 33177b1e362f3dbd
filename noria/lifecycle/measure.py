"""Measuring any model on task data, alone or against another on the same items.

In: names of models (a release, a folder, a GGUF file, base weights, a URL) and a file. Out: means with intervals, and with a second model the
paired effect, its interval, test and p. Tasks so far: `tools` (a chat task file; each message trained on is one decision) and `suite` (`evals/`).
"""

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from noria.config import Project
from noria.engine import EngineConfig, open_generator
from noria.errors import DataError, ModelError
from noria.evaluate.paired import (
    group_shares,
    group_sums,
    is_grouped,
    mcnemar_two_sided,
    paired_bootstrap,
    paired_counts,
    score_interval,
    sign_flip_better,
    wilson_interval,
)
from noria.evaluate.suites import Item, Suite, SuiteRun, chat_suite, item_request, load_suite, run_suite
from noria.lifecycle.releases import Records
from noria.lifecycle.trial import Progress, as_served
from noria.model import resolve
from noria.schema import GenerationRequest
from noria.schema import Generator as TextGenerator
from noria.serve import first_release
from noria.store import write_file

TASKS = ("tools", "chat", "suite")
HEAD_TASKS = ("classify", "tag", "answer")
"""Tasks of folders that `noria tune` made."""


def measure(folder: Path | None, model: str, task: str, data: Path, *, against: str | None, out: Path | None, progress: Progress) -> dict[str, Any]:
    """Run `model` (and `against`) on `data` and report.

    Raises:
        DataError: unknown task, or a file that breaks its format.
        ConfigError: no model of this name, or a release named outside a project.
    """
    if task in HEAD_TASKS:
        from noria.lifecycle.measure_heads import measure_head  # imports torch

        return measure_head(model, task, data, against=against, out=out, progress=progress)
    if task not in TASKS:
        raise DataError(f"`--task` is {task!r}; allowed: {', '.join((*TASKS, *HEAD_TASKS))}.")
    suite = load_suite(data) if task == "suite" else chat_suite(data, data.stem)
    groups = [item.group or item.id for item in suite.items]
    if against is not None and suite.kind != "pass" and len(suite.items) < 2:
        raise DataError(f"'{data}' holds one item; a comparison of scores needs two or more.")
    if against is not None and is_grouped(groups) and len(set(groups)) < 2:
        raise DataError(f"'{data}' holds one conversation; a comparison needs decisions of two or more.")
    run = _run(folder, model, suite, progress)
    report: dict[str, Any] = {"task": task, "model": model, "data": str(data), "n": len(run.results), **_metrics(run)}
    if against is not None:
        report |= {"against": against, **_compared(_run(folder, against, suite, progress), run)}
    if out is not None:
        write_file(out, [json.dumps(report, indent=2, ensure_ascii=False) + "\n"])
    return report


def _run(folder: Path | None, name: str, suite: Suite, progress: Progress) -> SuiteRun:
    with _opened(folder, name) as (generator, make_request):
        return run_suite(suite, generator, make_request=make_request, progress=lambda done, total: progress(name, done, total))


@contextmanager
def _opened(folder: Path | None, name: str) -> Generator[tuple[TextGenerator, Callable[[Item], GenerationRequest]]]:
    """The generator of a name, and how it is asked: a release as its agent would, anything else with the item's own messages."""
    if name == "live" or (name[:1] == "r" and name[1:].isdigit()) or name.startswith("rel_"):
        with Records.open(_project(folder)) as records:
            live = first_release(records.project, records.releases, records.artifacts)
            release = live if name == "live" else records.releases.get(name)
            serving = records.load(release)
            try:
                yield serving.generator, partial(as_served, serving)
            finally:
                serving.close()
        return
    generator = open_plain(name)
    try:
        yield generator, item_request
    finally:
        generator.close()


def _project(folder: Path | None) -> Project:
    return Project.load(folder.resolve()) if folder is not None else Project.find()


def open_plain(name: str) -> TextGenerator:
    """The generator of a folder, file, base name or URL, without a project. Raises ConfigError, ModelError."""
    if name.startswith(("http://", "https://")):
        url, _, model = name.partition("#")
        return open_generator(EngineConfig(kind="remote", url=url, model=model or _first_model(url)), Path.cwd())
    base = resolve(name)
    return open_generator(EngineConfig(kind="openvino" if base.gguf else "transformers"), Path.cwd(), gguf_override=base.gguf or base.path)


def _first_model(url: str) -> str:
    """The first model a server offers. Raises ModelError."""
    try:
        listed = httpx.get(f"{url.rstrip('/')}/models", timeout=30).raise_for_status().json()
        return str(listed["data"][0]["id"])
    except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
        raise ModelError(f"The server at {url} does not tell its models: {error}. Name one: `--model {url}#MODEL`.") from error


def _metrics(run: SuiteRun) -> dict[str, Any]:
    """Mean and 95 % interval of each metric: Wilson's for shares, bootstrap for scores."""
    columns: dict[str, list[float]] = {run.kind: [r.value for r in run.results]}
    for result in run.results:
        for name, value in result.metrics.items():
            columns.setdefault(name, []).append(value)
    means: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name, values in columns.items():
        means[name] = sum(values) / len(values)
        if run.kind == "pass":
            intervals[name] = wilson_interval(round(sum(values)), len(values))
        elif len(values) > 1:
            intervals[name] = paired_bootstrap(np.zeros(len(values)), values).interval
        else:
            intervals[name] = (means[name], means[name])
    return {"metrics": means, "intervals": intervals}


def _compared(before: SuiteRun, after: SuiteRun) -> Mapping[str, Any]:
    values = _by_id(before)
    pairs = [(values[r.id], r.value) for r in after.results]
    if before.kind == "pass":
        if is_grouped(after.groups):
            return _conversations_compared(before, after)
        counts = paired_counts([x > 0.5 for x, _ in pairs], [y > 0.5 for _, y in pairs])
        interval, p = score_interval(counts.gains, counts.losses, counts.n), mcnemar_two_sided(counts.gains, counts.losses)
        return {"effect": counts.effect, "interval": interval, "test": "exact McNemar, two-sided", "p": p}
    boot = paired_bootstrap([x for x, _ in pairs], [y for _, y in pairs])
    return {"effect": boot.effect, "interval": boot.interval, "test": "paired bootstrap (BCa), two-sided", "p": min(1.0, 2 * min(boot.p, 1 - boot.p))}


def _conversations_compared(before: SuiteRun, after: SuiteRun) -> Mapping[str, Any]:
    """As `_compared`, counting conversations, since decisions of one are not independent."""
    x, y = ([values[i] for i in after.expected_ids] for values in (_by_id(before), _by_id(after)))
    boot = paired_bootstrap(group_shares(x, after.groups), group_shares(y, after.groups))
    gains = group_sums(np.subtract(y, x), after.groups)
    p = min(1.0, 2 * min(sign_flip_better(gains), sign_flip_better(-gains)))
    return {"effect": boot.effect, "interval": boot.interval, "test": "exact sign-flip test of conversations, two-sided", "p": p}


def _by_id(run: SuiteRun) -> dict[str, float]:
    return {result.id: result.value for result in run.results}
