"""Measuring any model on task data, alone or against another on the same items.

In: names of models (a release, a folder, a GGUF file, base weights, a URL) and a file. Out: means with intervals, and with a second model the
paired effect, its interval, test and p, as JSON and as a page beside it. Here: `tools` and `chat` (a chat task file; each message trained on is one
decision) and `suite` (`evals/`); the tasks that have rows with one right answer are in `measure_heads`.
"""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import httpx

from noria.config import Project
from noria.data import ChatExample, Example
from noria.data.examples import HeadTask
from noria.data.task_checks import read_file
from noria.engine import EngineConfig, open_generator
from noria.errors import ConfigError, DataError, ModelError
from noria.evaluate.counted import Counted
from noria.evaluate.intervals import intervals
from noria.evaluate.paired import compare, minimum_detectable_effect
from noria.evaluate.report import write_page
from noria.evaluate.suite_report import suite_details
from noria.evaluate.suites import Item, Suite, SuiteRun, chat_suite, item_request, load_suite, run_suite
from noria.lifecycle.releases import Records
from noria.lifecycle.seen import seen_by
from noria.lifecycle.trial import Progress, as_served
from noria.model import has_gguf, resolve
from noria.schema import GenerationRequest
from noria.schema import Generator as TextGenerator
from noria.serve import first_release
from noria.store import write_file

TASKS = ("tools", "chat", "suite")
PICTURE = "curve.svg"
"""Of how a folder was trained."""
CASES = "cases.json"
"""What says that a folder holds cases instead of weights."""
ROW_TASKS = (*get_args(HeadTask), "summarize", "rewrite")
"""Tasks whose rows have one right answer each."""
TWO_SIDED = 0.05
DISCORDANCE = 0.3
"""Share of rows on which two models are taken to differ where it is told beforehand what can be found."""
Say = Callable[[str], None]


def measure(
    folder: Path | None,
    model: str,
    task: str,
    data: Path,
    *,
    against: str | None,
    out: Path | None,
    progress: Progress,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Run `model` (and `against`) on `data` and report.

    Args:
        say: told what is to be known before the models run, one sentence at a time.

    Raises:
        DataError: unknown task, or a file that breaks its format.
        ConfigError: no model of this name, or a release named outside a project.
    """
    if out is not None:
        check_report(out, {"--data": [data]})
    if task in ROW_TASKS:
        from noria.lifecycle.measure_heads import measure_rows  # imports torch

        return measure_rows(model, task, data, against=against, out=out, progress=progress, say=say)
    if task not in TASKS:
        raise DataError(f"`--task` is {task!r}; allowed: {', '.join((*TASKS, *ROW_TASKS))}.")
    file = None if task == "suite" else read_file(data, "chat")
    suite = load_suite(data) if task == "suite" else chat_suite(data, data.stem, task=task)
    planned = {} if against is None else plan(data, [item.group or item.id for item in suite.items], say)
    for name in (model, against):
        if name is not None:
            find_model(folder, name)
    known = {} if file is None else seen_by(model, against, file, "chat", say)
    run = _run(folder, model, suite, progress)
    report: dict[str, Any] = {"task": task, "model": model, "data": str(data), "n": len(run.results), **known, "main": run.kind, **_metrics(run)}
    before = None
    if against is not None:
        before = _run(folder, against, suite, progress)
        report |= {"against": against, "metrics_against": _metrics(before)["metrics"], **planned, **_compared(before, run)}
    report |= suite_details(suite, run, before)
    if file is not None and find_spec("torch"):  # which a project is served without
        from noria.lifecycle.perplexity import with_perplexity

        report = with_perplexity(report, model, against, file, lambda _: as_conversation, progress, say)
    if out is not None:
        write_report(report, out)
        write_page(report, out.with_suffix(".html"), curves_of(model, against))
    return report


def curves_of(*names: str | None) -> dict[str, bytes]:
    """The pictures of how folders were trained; what is no folder of ours, or learnt in no steps, has none."""
    pictures = {name: Path(name) / PICTURE for name in names if name is not None}
    return {name: path.read_bytes() for name, path in pictures.items() if path.is_file()}


def as_conversation(row: Example) -> ChatExample:
    """A row of a chat task file, as it is learnt."""
    assert isinstance(row, ChatExample)
    return row


def plan(data: Path, groups: Sequence[str], say: Say) -> dict[str, float]:
    """Say which effect so many rows can show, before anything runs. Raises DataError where they can show none."""
    n = check_comparable(data, groups)
    effect = minimum_detectable_effect(n, TWO_SIDED / 2, discordance=DISCORDANCE)
    counted = f"{len(groups)} rows" if n == len(groups) else f"{len(groups)} rows of {n} conversations, contexts or texts"
    say(
        f"{counted}: where two models differ on {DISCORDANCE:.0%} of them, a gap of {effect:.3f} between their shares of right rows "
        "is found in four of five cases."
    )
    return {"detectable": effect, "discordance": DISCORDANCE}


def check_comparable(data: Path, groups: Sequence[str]) -> int:
    """How many independent draws the rows of a file are. Raises DataError where they are too few to compare by."""
    n = len(set(groups))
    if n < 2:
        what = "one row" if len(groups) == 1 else "rows of one conversation, context or text"
        raise DataError(f"'{data}' holds {what}; a comparison needs two or more.")
    return n


def check_report(out: Path, given: Mapping[str, Sequence[Path]], beside: Sequence[Path] = ()) -> None:
    """Raise ConfigError where a report would be JSON in a file that is named as a page, or be written over what is given.

    Args:
        given: files by the option they are given as.
        beside: what is written beside the report and its page.
    """
    if out.suffix.lower() in (".html", ".htm"):
        raise ConfigError(f"`--out` is '{out}'; the report is JSON, and its page stands beside it. Give '{out.with_suffix('.json')}'.")
    check_apart(out, (out, out.with_suffix(".html"), *beside), given)


def check_apart(out: Path, written: Sequence[Path], given: Mapping[str, Sequence[Path]]) -> None:
    """Raise ConfigError where a file that is given would be written over."""
    places = {path.resolve() for path in written}
    for option, paths in given.items():
        if taken := next((path for path in paths if path.resolve() in places), None):
            raise ConfigError(f"`--out` is '{out}', which would write over '{taken}': it is also given as `{option}`. Give another `--out`.")


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write a report as JSON. Raises StoreError."""
    write_file(out, [json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"])


def _run(folder: Path | None, name: str, suite: Suite, progress: Progress) -> SuiteRun:
    with opened_model(folder, name) as (generator, make_request):
        return run_suite(suite, generator, make_request=make_request, progress=lambda done, total: progress(name, done, total))


def find_model(folder: Path | None, name: str) -> None:
    """Raise as `opened_model` does where there is no such model, before any model runs."""
    if is_release(name):
        with Records.open(_project(folder)) as records:
            if name != "live":
                records.releases.get(name)
    else:
        check_plain(name)


def check_plain(name: str) -> None:
    """Raise as `open_plain` does where there is no such model, without opening it."""
    if holds_cases(name):
        check_writes(name)
    elif not name.startswith(("http://", "https://")):
        resolve(name)


def check_writes(name: str) -> None:
    """Raise ConfigError where a folder of cases was made for labels or answers: it cannot be talked to."""
    from noria.lifecycle.untrained import CasesFile  # imports torch

    task = CasesFile.read(Path(name)).task
    if task in ("classify", "answer"):
        raise ConfigError(f"'{name}' was tuned for the task {task!r} and does not write. Give `--task {task}`, or another model.")


def holds_cases(name: str) -> bool:
    """Whether a folder was made by a method that trains nothing."""
    return (Path(name) / CASES).is_file()


def is_release(name: str) -> bool:
    """Whether a name is one of a release, of whatever project."""
    return name == "live" or (name[:1] == "r" and name[1:].isdigit()) or name.startswith("rel_")


def release_id(folder: Path | None, name: str) -> str | None:
    """The id of the release that a name stands for; None of what is no release's name."""
    if not is_release(name):
        return None
    with Records.open(_project(folder)) as records:
        live = first_release(records.project, records.releases, records.artifacts)
        return (live if name == "live" else records.releases.get(name)).id


@contextmanager
def opened_model(folder: Path | None, name: str) -> Generator[tuple[TextGenerator, Callable[[Item], GenerationRequest]]]:
    """The generator of a name, and how it is asked: a release as its agent would, anything else with the item's own messages."""
    if is_release(name):
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
    if holds_cases(name):
        from noria.lifecycle.untrained import CaseGenerator, Untrained  # imports torch

        check_writes(name)
        return CaseGenerator(Untrained.open(Path(name), open_plain))
    if name.startswith(("http://", "https://")):
        url, _, model = name.partition("#")
        return open_generator(EngineConfig(kind="remote", url=url, model=model or _first_model(url)), Path.cwd())
    base = resolve(name)
    return open_generator(EngineConfig(kind="openvino" if has_gguf(base) else "transformers"), Path.cwd(), gguf_override=base.gguf or base.path)


def _first_model(url: str) -> str:
    """The first model a server offers. Raises ModelError."""
    try:
        listed = httpx.get(f"{url.rstrip('/')}/models", timeout=30).raise_for_status().json()
        return str(listed["data"][0]["id"])
    except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
        raise ModelError(f"The server at {url} does not tell its models: {error}. Name one: `--model {url}#MODEL`.") from error


def _metrics(run: SuiteRun) -> dict[str, Any]:
    """Mean and 95 % interval of each metric, over the items that have it."""
    group_of = dict(zip(run.expected_ids, run.groups, strict=True))
    columns: dict[str, dict[str, float]] = {run.kind: {r.id: r.value for r in run.results}}
    for result in run.results:
        for name, value in result.metrics.items():
            columns.setdefault(name, {})[result.id] = value
    found: dict[str, tuple[float, float]] = {}
    for name, values in columns.items():
        found |= intervals([_counted(run.kind, name, list(values.values()))], [group_of[i] for i in values])
    return {"metrics": {name: sum(values.values()) / len(values) for name, values in columns.items()}, "intervals": found}


def counted(run: SuiteRun) -> Counted:
    """The value of each item, in the order of the suite."""
    values = _by_id(run)
    return _counted(run.kind, run.kind, [values[i] for i in run.expected_ids])


def _counted(kind: str, name: str, values: Sequence[float]) -> Counted:
    return Counted.passed(name, [value > 0.5 for value in values]) if kind == "pass" else Counted.mean(name, values)


def _compared(before: SuiteRun, after: SuiteRun) -> dict[str, Any]:
    return compare(counted(before), counted(after), after.groups, after.kind)


def _by_id(run: SuiteRun) -> dict[str, float]:
    return {result.id: result.value for result in run.results}
