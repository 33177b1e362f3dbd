"""Tasks of EleutherAI's lm-evaluation-harness, by their names: `noria evaluate --task lm-eval:NAME[,NAME]`.

In: names, perhaps a folder of own tasks (the harness's YAML), a decoder and perhaps another. Out: a report with an interval of every metric that
has a value for each document, and of two models the paired comparison, which the harness leaves to its users; p-values are corrected for the
number of metrics (Holm). The harness prompts and scores; the models run in torch, whatever serves them.
"""

import difflib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from noria.errors import ConfigError, DataError, DependencyError
from noria.evaluate.counted import Counted
from noria.evaluate.intervals import intervals
from noria.evaluate.paired import compare, holm
from noria.lifecycle.measure import Say, check_report, is_release, write_report
from noria.model import BaseModel, check_decoder, load_checkpoint, plain_checkpoint, resolve

PREFIX = "lm-eval:"
RIGHT_OR_WRONG = frozenset({"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "em"})
"""The harness's metrics whose value of a document is 0 or 1; of any other the documents' values are averaged."""
BATCH_SIZE = 8
_INSTALL = "Run `.venv/bin/pip install 'lm-eval[hf]>=0.4.9'` in the clone of Noria."
Columns = dict[str, dict[str, float]]
"""The value of each document, by metric."""


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
        check_report(out)
    names = [name.strip() for name in task.removeprefix(PREFIX).split(",")]
    manager = _manager(names, folder)
    bases = [_decoder(name) for name in (model, against) if name is not None]
    say("The documents come from where the tasks' files say: a file, this machine's cache, or the hub they name.")
    found = _columns(bases[0], names, manager, limit)
    made = {name: _counted(name, list(values.values())) for name, values in found.items()}
    main = next(iter(found))
    report: dict[str, Any] = {"task": task, "model": model, "data": str(folder or ""), "n": len(found[main]), "main": main}
    report["n_of"] = {name: len(values) for name, values in found.items()}
    report["metrics"] = {name: counted.value(name) for name, counted in made.items()}
    report["intervals"] = {name: intervals([counted], list(found[name]))[name] for name, counted in made.items()}
    if against is not None:
        earlier = _columns(bases[1], names, manager, limit)
        compared = {name: compare(_counted(name, [earlier[name][i] for i in found[name]]), made[name], list(found[name]), name) for name in found}
        for one, p in zip(compared.values(), holm([one["p"] for one in compared.values()]), strict=True):
            one["p_holm"] = p
        report |= {"against": against, **compared[main], "comparisons": compared}
        report["metrics_against"] = {name: sum(values.values()) / len(values) for name, values in earlier.items()}
    if out is not None:
        write_report(report, out)
    return report


def _manager(names: Sequence[str], folder: Path | None) -> Any:
    try:
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
            raise ConfigError(f"The harness has no task {name!r}. {ask}")
    return manager


def _decoder(name: str) -> BaseModel:
    """Weights that tell the probability of any text: no release and no server."""
    if name.startswith(("http://", "https://")) or is_release(name):
        raise ConfigError(f"The harness asks for the probability of given texts, which {name!r} does not tell. Name a model folder or base weights.")
    base = resolve(name)
    if base.kind == "folder":
        check_decoder(base.path)
    return base


def _columns(base: BaseModel, names: Sequence[str], manager: Any, limit: int | None) -> Columns:
    """Raises DataError."""
    import lm_eval
    import torch
    from lm_eval.models import huggingface
    from transformers import AutoTokenizer

    folder = plain_checkpoint(base)
    loaded: Any = load_checkpoint(folder)
    harness: Any = lm_eval  # its decorators hide what its functions take
    adapter: Any = huggingface.HFLM
    words = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    lm = adapter(pretrained=loaded.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer=words, batch_size=BATCH_SIZE)
    try:
        found = harness.simple_evaluate(model=lm, tasks=list(names), task_manager=manager, limit=limit, bootstrap_iters=0)
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        what = f"{type(error).__name__}: {error!s:.300}"
        raise DataError(f"The harness could not run {', '.join(names)}: {what}. Correct the task, or let this machine read its data.") from error
    return columns_of(found["samples"])


def columns_of(samples: dict[str, list[dict[str, Any]]]) -> Columns:
    """The values of the documents by task, metric and filter, from the harness's `samples`. Raises DataError where no metric has any."""
    columns: Columns = {}
    for task, rows in samples.items():
        for row in rows:
            of = "" if row["filter"] == "none" else f" ({row['filter']})"
            for metric in row["metrics"]:
                if isinstance(value := row[metric], bool | int | float):
                    columns.setdefault(f"{task}/{metric}{of}", {})[str(row["doc_id"])] = float(value)
    if not columns:
        raise DataError(f"{', '.join(samples)}: no metric has a value for each document, so nothing can be compared. Choose another task.")
    return columns


def _counted(name: str, values: Sequence[float]) -> Counted:
    metric = name.rpartition("/")[2].split(" (")[0]
    return Counted.passed(name, [value > 0.5 for value in values]) if metric in RIGHT_OR_WRONG else Counted.mean(name, values)
