"""Tasks of EleutherAI's lm-evaluation-harness, by their names: `noria evaluate --task lm-eval:NAME[,NAME]`.

In: names, perhaps a folder of own tasks (the harness's YAML), a decoder and perhaps another. Out: a report with an interval of every metric that
has a value for each document, and of two models the paired comparison, which the harness leaves to its users; p-values are corrected for the
number of metrics (Holm). The harness prompts and scores; the models run in torch, whatever serves them.
"""

import difflib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from noria.errors import ConfigError, DataError, DependencyError, ModelError
from noria.evaluate.counted import Counted
from noria.evaluate.intervals import intervals
from noria.evaluate.paired import compare, holm
from noria.lifecycle.measure import Say, check_report, is_release, write_report
from noria.model import BaseModel, check_decoder, load_checkpoint, plain_checkpoint, resolve

PREFIX = "lm-eval:"
RIGHT_OR_WRONG = frozenset({"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em"})
"""The harness's metrics whose value of a document is 0 or 1, but for the few tasks that give them a share; of any other the values are averaged."""
BATCH_SIZE = 8
_INSTALL = "Run `.venv/bin/pip install 'lm-eval[hf]>=0.4.9'` in the clone of Noria."
Columns = dict[str, dict[str, float]]
"""The value of each document, by metric."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the harness tells of a model."""

    columns: Columns
    left_out: list[str]
    """Metrics that are no mean of the documents' values, such as perplexity."""
    about: dict[str, Any]
    """The groups' own figures, the examples shown in prompts, the tasks' versions, and whether more is better."""


def measure_harness(
    model: str, task: str, folder: Path | None, *, against: str | None, out: Path | None, limit: int | None, say: Say
) -> dict[str, Any]:
    """Run a model (and another) on tasks of the harness and report.

    Args:
        task: `lm-eval:` and names of tasks or groups, with commas between.
        folder: where own tasks are.
        limit: documents of each task, the first ones.

    Raises:
        ConfigError: no such task or model.
        DataError: a task cannot be loaded, or has no metric that documents have a value of.
        DependencyError: the harness is not installed.
        ModelError: no decoder.
    """
    if out is not None:
        check_report(out, {})
    names = [name.strip() for name in task.removeprefix(PREFIX).split(",")]
    manager = _manager(names, folder)
    bases = [_decoder(name) for name in (model, against) if name is not None]
    say("The documents come from where the tasks' files say: a file, this machine's cache, or the hub they name.")
    ran = [_ran(base, names, manager, limit) for base in bases]
    columns = shared_columns([one.columns for one in ran])
    left_out = sorted({name for one in ran for name in [*one.left_out, *one.columns]} - columns[0].keys())
    if left_out:
        say(f"Left out, since they are no mean over documents{' of both models' if against else ''}: {', '.join(left_out)}.")
    report = {"task": task, "model": model, "data": str(folder or ""), "limit": limit, **told_of(columns), "left_out": left_out}
    report |= ran[0].about
    if against is not None:
        report |= {"against": against, "groups_against": ran[1].about["groups"]}
    if out is not None:
        write_report(report, out)
    return report


def shared_columns(columns: Sequence[Columns]) -> list[Columns]:
    """The metrics that every model has on the same documents: infinity on one takes a metric from a model. Raises DataError where none is left."""
    names = [name for name, values in columns[0].items() if all(list(side.get(name, {})) == list(values) for side in columns)]
    if not names:
        raise DataError("The two models have no metric in common that is a mean of the same documents' values. Choose another task.")
    return [{name: side[name] for name in names} for side in columns]


def told_of(columns: Sequence[Columns]) -> dict[str, Any]:
    """The report on one model's columns, or on those of two with the same metrics and documents: the later one first."""
    found, earlier = columns[0], columns[1] if len(columns) > 1 else None
    main = next(iter(found))
    made = {name: _counted(name, [side[name] for side in columns]) for name in found}
    report: dict[str, Any] = {"n": len(found[main]), "main": main, "n_of": {name: len(values) for name, values in found.items()}}
    report["metrics"] = {name: counted[0].value(name) for name, counted in made.items()}
    report["intervals"] = {name: intervals([counted[0]], list(found[name]))[name] for name, counted in made.items()}
    if earlier is None:
        return report
    compared = {name: compare(counted[1], counted[0], list(found[name]), name) for name, counted in made.items()}
    for one, p in zip(compared.values(), holm([one["p"] for one in compared.values()]), strict=True):
        one["p_holm"] = p
    report["metrics_against"] = {name: counted[1].value(name) for name, counted in made.items()}
    only = compared[main] if len(compared) == 1 else {}  # of several, none speaks for all
    return report | only | {"comparisons": compared}


def _manager(names: Sequence[str], folder: Path | None) -> Any:
    try:
        import accelerate  # noqa: F401  # pyright: ignore[reportUnusedImport]  # what the harness needs for models of transformers
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise DependencyError(f"Tasks of lm-evaluation-harness need its package. {_INSTALL}") from error
    if folder is not None and not folder.is_dir():
        raise ConfigError(
            f"`--data` is '{folder}', which is no folder. With `--task {PREFIX}...` it is the folder of your own tasks; or leave it out."
        )
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = TaskManager(include_path=str(folder) if folder is not None else None)
    for name in names:
        if name not in manager.all_tasks:
            near = difflib.get_close_matches(name, manager.all_tasks, n=3)
            ask = f"Did you mean {', '.join(near)}?" if near else "`.venv/bin/lm-eval ls tasks` lists them."
            unread = f", and no file in '{folder}' that is valid YAML names it" if folder is not None else ""
            raise ConfigError(f"The harness has no task {name!r}{unread}. {ask}")
    return manager


def _decoder(name: str) -> BaseModel:
    """Weights that tell the probability of any text: no release and no server."""
    if name.startswith(("http://", "https://")) or is_release(name):
        raise ConfigError(f"The harness asks for the probability of given texts, which {name!r} does not tell. Name a model folder or base weights.")
    base = resolve(name)
    if base.kind == "folder":
        check_decoder(base.path)
    return base


def _ran(base: BaseModel, names: Sequence[str], manager: Any, limit: int | None) -> Found:
    """Raises DataError, ModelError."""
    import lm_eval
    import torch
    from lm_eval.models import huggingface
    from transformers import AutoTokenizer

    folder = plain_checkpoint(base)
    loaded: Any = load_checkpoint(folder)
    harness: Any = lm_eval  # its decorators hide what its functions take
    adapter: Any = huggingface.HFLM
    try:
        words = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        lm = adapter(pretrained=loaded.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer=words, batch_size=BATCH_SIZE)
        found = harness.simple_evaluate(model=lm, tasks=list(names), task_manager=manager, limit=limit, bootstrap_iters=0)
    except torch.OutOfMemoryError as error:
        raise ModelError(f"The machine's memory does not hold '{folder}' and its work on {', '.join(names)}. Name a smaller model.") from error
    except Exception as error:  # tasks run templates and functions of their own
        what = f"{type(error).__name__}: {error!s:.300}"
        raise DataError(f"The harness could not run {', '.join(names)}: {what}. Correct the task, or let this machine read its data.") from error
    columns, left_out = columns_of(found["samples"], found["results"])
    groups = {name: {key: value for key, value in told.items() if _is_number(value)} for name, told in (found.get("groups") or {}).items()}
    about = {"groups": groups, "num_shots": found["n-shot"], "versions": found["versions"], "higher_is_better": found["higher_is_better"]}
    return Found(columns=columns, left_out=left_out, about=about)


def columns_of(samples: dict[str, list[dict[str, Any]]], results: dict[str, dict[str, Any]]) -> tuple[Columns, list[str]]:
    """The values of the documents by task, metric and filter, from the harness's `samples`, and the metrics that are left out.

    A metric is kept if two documents or more have it, each a number, and the harness's own figure, in `results`, is their mean: the same sums make an
    interval and a comparison of it then.

    Raises:
        DataError: no metric is such.
    """
    kept: Columns = {}
    left_out: list[str] = []
    for task, rows in samples.items():
        by_filter: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_filter.setdefault(row["filter"], []).append(row)
        for of, documents in by_filter.items():
            for metric in dict.fromkeys(metric for row in documents for metric in row["metrics"]):
                name = f"{task}/{metric}" + ("" if of == "none" else f" ({of})")
                having = [row for row in documents if metric in row["metrics"]]
                if len(having) > 1 and _is_mean([row.get(metric) for row in having], results[task].get(f"{metric},{of}")):
                    kept[name] = {str(row["doc_id"]): float(row[metric]) for row in having}
                else:
                    left_out.append(name)
    if not kept:
        raise DataError(f"{', '.join(samples)}: no metric is a mean of the values of two documents or more. Choose another task, or more documents.")
    return kept, left_out


def _is_mean(values: Sequence[Any], told: Any) -> bool:
    if not all(_is_number(value) for value in [told, *values]):
        return False
    return math.isclose(math.fsum(map(float, values)) / len(values), float(told), rel_tol=1e-6, abs_tol=1e-9)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | np.bool_) and math.isfinite(value)


def _counted(name: str, sides: Sequence[Mapping[str, float]]) -> list[Counted]:
    """The values of each model, all counted in one way."""
    metric = name.rpartition("/")[2].split(" (")[0]
    columns = [list(side.values()) for side in sides]
    if metric in RIGHT_OR_WRONG and {*columns[0], *columns[-1]} <= {0.0, 1.0}:
        return [Counted.passed(name, [value == 1.0 for value in column]) for column in columns]
    return [Counted.mean(name, column) for column in columns]
