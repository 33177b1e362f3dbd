"""`noria tune` and `noria predict`: task files in, a tuned folder or a file of predictions out.

The order of the work: check both files, choose what was left out, tune, score; nothing is written before the files are known to be right.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from noria.align.finetune import check_base
from noria.config import Section, checked
from noria.data import Example, Task
from noria.data.examples import ClassifyExample, HeadTask, WritingTask
from noria.data.language import mostly_chinese
from noria.data.task_checks import TaskFile, check_asked, check_pair, first_list, in_both, question_of, read_file
from noria.data.tasks import numbered_rows
from noria.errors import ConfigError, DataError, DependencyError, ModelError, NoriaError
from noria.evaluate.scores import score
from noria.lifecycle.adapt_untrained import adapt_untrained, check_untrained
from noria.lifecycle.adapt_writing import adapt_writing, check_writing, predict_writing
from noria.lifecycle.asking import open_folder
from noria.lifecycle.measure import check_apart, check_comparable
from noria.lifecycle.measure_heads import standing_of
from noria.lifecycle.predictions import keep_predictions
from noria.lifecycle.race import RUNNERS, UNHEEDED, Fault, RaceConfig, asking_seconds, num_rows, race, refuse_wrong
from noria.lifecycle.standing import Standing, group_of, spread
from noria.lifecycle.untrained import UntrainedConfig, UntrainedMethod, placed
from noria.model import DEFAULT_BASE, BaseModel, check_decoder, resolve
from noria.model.registry import CHINESE_ENCODER, DEFAULT_ENCODER
from noria.store import content_mark, sizes
from noria.train import TuneConfig
from noria.train.heads.opening import can_turn, head_of, new_model, reads_ahead
from noria.train.methods import changed_unheeded, check_method, num_learning, unheeded, with_method
from noria.train.sentences import SentenceEncoder
from noria.train.task import Report, Say, Tuned, Watch, tell_of_rows, tune
from noria.train.task_config import TaskConfig

if TYPE_CHECKING:
    from noria.lifecycle.search_space import Space

TASKS = (*get_args(HeadTask), *get_args(WritingTask))
FEW_ROWS = 20
"""Rows a label, on average, up to which a classifier learns by contrasts, if nothing else is asked for."""
Rows = tuple[Path, Sequence[Example]]
"""A task file, and its rows."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What was asked for: the files, checked, and where the result goes.

    `base` is as in `[model] base`; None: what comes with Noria for the task. `settings` are those of the method's configuration.
    """

    task: Task
    train: TaskFile
    held_out: TaskFile
    out: Path
    base: str | None
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    """What else decides the result."""
    report: Report
    say: Say

    @property
    def rows(self) -> list[Example]:
        return list(self.train.rows.values())

    @property
    def given(self) -> tuple[Rows, Rows]:
        """What is learnt from, and what chooses."""
        return (self.train.path, self.rows), (self.held_out.path, list(self.held_out.rows.values()))

    @property
    def writes(self) -> bool:
        return self.task in get_args(WritingTask)

    def request(self, config: Section, base: Path | None) -> dict[str, Any]:
        """As `noria.store.claim` takes it."""
        settings = {**config.model_dump(mode="json"), **self.options, "--task": self.task, "--base": None if base is None else str(base)}
        weights = None if base is None else content_mark(base)
        return {"settings": settings, "files": sizes((self.train.path, self.held_out.path)), "weights": weights}


def adapt(
    settings: Mapping[str, Any],
    task: str,
    train: Path,
    held_out: Path,
    out: Path,
    base: str | None,
    report: Report,
    say: Say,
    drop_duplicates: bool = False,
    num_trials: int | None = None,
) -> Tuned:
    """Tune a base model on the rows of `train`, or make use of them without training; `held_out` chooses what is best.

    Args:
        settings: of `TaskConfig` where a head is tuned, of `TuneConfig` where a model that writes is, of `UntrainedConfig` where nothing is.
        base: as in `[model] base`; None: the sentence encoder that comes with Noria, or its chat model.
        num_trials: how many settings are tried where better ones are searched for; None: no search.
        drop_duplicates: leave rows out of `train` that ask what a row of `held_out` asks.

    Raises:
        ConfigError, DataError, ModelError: see `noria.train.task.tune`.
    """
    if task not in TASKS:
        raise ConfigError(f"`--task` is {task!r}; allowed: {', '.join(TASKS)}.")
    learnt, chosen_by = read_file(train, cast(Task, task)), read_file(held_out, cast(Task, task))
    learnt = _without_duplicates(learnt, chosen_by, drop_duplicates, say)
    check_pair(learnt, chosen_by, settings.get("out_of_scope"))
    options = {"--drop-duplicates": drop_duplicates, "--search": num_trials}
    job = Job(task=cast(Task, task), train=learnt, held_out=chosen_by, out=out, base=base, settings=settings, options=options, report=report, say=say)
    if num_trials is not None:
        return _searched(job, num_trials)
    return _raced(job) if settings.get("method") == "best" else _made(job)


def _made(job: Job) -> Tuned:
    """By one method."""
    if job.settings.get("method") in get_args(UntrainedMethod):
        return _untrained(job)
    return _to_write(job) if job.writes else _with_head(job)


def _untrained(job: Job) -> Tuned:
    config = checked(UntrainedConfig, job.settings, "--set")
    base = resolve(job.base or DEFAULT_BASE) if config.method == "prompting" else None
    request = job.request(config, None if base is None else base.path)
    return adapt_untrained(config, job.task, job.train, job.held_out, job.out, base and base.name, request, job.report, job.say)


def _to_write(job: Job) -> Tuned:
    config, base = checked(TuneConfig, job.settings, "--set"), resolve(job.base or DEFAULT_BASE)
    request = job.request(config, base.path)
    return adapt_writing(config, cast(WritingTask, job.task), job.train, job.held_out, base, job.out, request, job.report, job.say)


def _with_head(job: Job) -> Tuned:
    config, base, kind = _head_config(job), _encoder(job), head_task(job.task)
    return tune(config, kind, *job.given, base, job.out, job.request(config, base.path), scorer(kind), job.report, job.say)


def _head_config(job: Job) -> TaskConfig:
    """As it was set. Where no method is, a classifier on the encoder that comes with Noria learns by contrasts from few rows a label: all of the
    encoder's weights would learn them by heart."""
    config = checked(TaskConfig, job.settings, "--set")
    if job.task != "classify" or job.base is not None or "method" in job.settings or first_list(job.train) is not None:
        return config
    num_rows = len(job.rows) / len({str(row.label) for row in job.rows if isinstance(row, ClassifyExample)})
    if num_rows > FEW_ROWS or changed_unheeded(config, job.task, "contrast"):
        return config
    job.say(f"{num_rows:.3g} rows a label (on average) are few, so they are learnt by contrasts; `--method full` tunes on the labels alone.")
    return config.model_copy(update={"method": "contrast"})


def _encoder(job: Job) -> BaseModel:
    return resolve(job.base or (CHINESE_ENCODER if mostly_chinese(map(question_of, job.rows)) else DEFAULT_ENCODER))


def _searched(job: Job, num_trials: int) -> Tuned:
    if job.settings.get("method") in (*get_args(UntrainedMethod), "best"):
        raise ConfigError("`--search` is for a method that trains. Leave it out, or give another `--method`.")
    return _searched_to_write(job, num_trials) if job.writes else _searched_with_head(job, num_trials)


def _searched_with_head(job: Job, num_trials: int) -> Tuned:
    from noria.lifecycle.search import search

    config, base, kind = _head_config(job), _encoder(job), head_task(job.task)

    def tuned(settings: TaskConfig, folder: Path, told: Report, watch: Watch) -> Tuned:
        return tune(settings, kind, *job.given, base, folder, job.request(settings, base.path), scorer(kind), told, lambda _: None, watch)

    space = _space(config, kind, base, job.given, job.say)
    return search(config, space, num_trials, job.request(config, base.path), job.out, tuned, job.report, job.say)


def _searched_to_write(job: Job, num_trials: int) -> Tuned:
    """The same for a model that writes; the lower the loss on the evaluation file, the better."""
    from noria.lifecycle.search import search
    from noria.lifecycle.search_space import space_of_writing

    config, base, kind = checked(TuneConfig, job.settings, "--set"), resolve(job.base or DEFAULT_BASE), cast(WritingTask, job.task)
    check_writing(config, kind, job.train, job.held_out, base, job.say)

    def tuned(settings: TuneConfig, folder: Path, told: Report, watch: Watch) -> Tuned:
        request = job.request(settings, base.path)
        made = adapt_writing(settings, kind, job.train, job.held_out, base, folder, request, told, lambda _: None, watch)
        return replace(made, metrics={**made.metrics, "score": -made.metrics["held_out_loss"]})

    space = space_of_writing(config, kind)
    return search(config, space, num_trials, job.request(config, base.path), job.out, tuned, job.report, job.say)


def _raced(job: Job) -> Tuned:
    """By the method that does best within the minutes. Raises ConfigError where there are none, or settings that no method has."""
    config = checked(RaceConfig, job.settings, "--set")
    settings = _settings_of_methods(job)
    count = num_rows(job.task, settings, config.minutes)
    job = replace(job, options={**job.options, "--rows": count, "--methods": _whole_settings(job, settings)})
    rows = replace(job.held_out, rows=spread(job.held_out.rows, count))
    check_comparable(rows.path, [group_of(row, str(line)) for line, row in rows.rows.items()])
    refuse_wrong({method: {name: own[name] for name in own if name != "method"} for method, own in settings.items()}, _fault_of(job))
    _tell_of_rows(job, next(own for method, own in settings.items() if method not in get_args(UntrainedMethod)))

    def make(method: str, minutes: float, folder: Path) -> Tuned:
        return _made(replace(job, settings={**settings[method], "minutes": minutes}, out=folder, say=lambda _: None))

    def ask(folder: Path) -> Standing:
        return standing_of(str(folder), job.task, rows, job.report)

    def asking(method: str) -> float:
        return asking_seconds(job.task, method, len(rows.rows), settings[method])

    base = None if job.base is None else resolve(job.base).path
    return race(list(settings), config.minutes, job.request(config, base), job.out, make, ask, job.say, asking)


def _tell_of_rows(job: Job, settings: Mapping[str, Any]) -> None:
    """Say once what all methods of a race that train would say of the rows; what keeps these settings from them the race itself tells."""
    with suppress(NoriaError):
        if job.writes:
            config, base = checked(TuneConfig, settings, "--set"), resolve(job.base or DEFAULT_BASE)
            check_writing(config, cast(WritingTask, job.task), job.train, job.held_out, base, job.say)
            return
        head = head_of(checked(TaskConfig, settings, "--set"), head_task(job.task), _encoder(job), job.given[0])
        for path, rows in job.given:
            tell_of_rows(head, path, rows, head.inputs(rows), job.say)


def _fault_of(job: Job) -> Fault:
    """What keeps a method from the rows, or from the base; a model that takes a head is made once."""
    models: dict[bool, Any] = {}

    def check(method: str, settings: Mapping[str, Any]) -> None:
        given = {"method": method, **settings}
        if "crf" in job.settings:  # by which it goes whether other settings of a tagger are heeded
            given = {"crf": job.settings["crf"], **given}
        if method in get_args(UntrainedMethod):
            untrained = checked(UntrainedConfig, given, "--set")
            check_untrained(untrained, job.task)
            if untrained.encoder is not None:
                SentenceEncoder(resolve(untrained.encoder))
            if method == "prompting" and (base := resolve(job.base or DEFAULT_BASE)).kind == "folder":
                check_decoder(base.path)
        elif job.writes:
            config, base = checked(TuneConfig, given, "--set"), resolve(job.base or DEFAULT_BASE)
            if "max_tokens" in settings:  # it takes reading all rows
                check_writing(config, cast(WritingTask, job.task), job.train, job.held_out, base, lambda _: None)
            else:
                check_base(config, job.task, base)
        else:
            config, base = checked(TaskConfig, given, "--set"), _encoder(job)
            head = head_of(config, head_task(job.task), base, (job.train.path, job.rows))
            if config.bidirectional not in models:
                models[config.bidirectional] = new_model(config, head, base)
            check_method(config, head, models[config.bidirectional])

    def fault(method: str, settings: Mapping[str, Any]) -> NoriaError | None:
        try:
            check(method, settings)
        except (ConfigError, DataError, DependencyError, ModelError) as error:
            return error
        return None

    return fault


def _settings_of_methods(job: Job) -> dict[str, dict[str, Any]]:
    """The methods that can race for the rows, each with what of the settings is its own. Raises ConfigError for what is nobody's, or wrong."""
    given = {name: value for name, value in job.settings.items() if name not in ("method", "minutes")}
    several = job.task == "classify" and first_list(job.train) is not None
    found: dict[str, dict[str, Any]] = {}
    for method in (method for method in RUNNERS[job.task] if not (several and method == "contrast")):
        known = _config_of(job, method)
        heeded = known.model_fields.keys() - UNHEEDED.get(method, ()) - unheeded(job.task, method)
        found[method] = {"method": method, **{name: value for name, value in given.items() if name in heeded}}
        checked(known, found[method], "--set")
    strange = sorted(given.keys() - {name for settings in found.values() for name in settings})
    if strange:
        raise ConfigError(f"`--set {strange[0]}`: no method that races for {job.task!r} has this setting. Leave it out.")
    return found


def _config_of(job: Job, method: str) -> type[UntrainedConfig] | type[TuneConfig] | type[TaskConfig]:
    return UntrainedConfig if method in get_args(UntrainedMethod) else TuneConfig if job.writes else TaskConfig


def _whole_settings(job: Job, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All settings of all methods: by them folders are claimed, so that a race begun otherwise is not gone on with."""
    return {method: _config_of(job, method).model_validate(own).model_dump(mode="json") for method, own in settings.items()}


def _space(config: TaskConfig, task: HeadTask, base: BaseModel, given: tuple[Rows, Rows], say: Say) -> "Space":
    """What a search draws; what would end every trial is raised here, before a folder is made, and what all would say of the rows is said.

    Args:
        given: the rows to learn from, and those to choose by.

    Raises:
        ConfigError, ModelError: see above.
    """
    from noria.lifecycle.search_space import TURNED, space_of

    head = head_of(config, task, base, given[0])
    model = new_model(config, head, base)
    check_method(config, head, model)
    for path, rows in given:
        tell_of_rows(head, path, rows, head.inputs(rows), say)
    turns = task in TURNED and (config.bidirectional or not reads_ahead(model)) and can_turn(config, head, base)
    return space_of(config, task, num_learning(with_method(model, config)), turns)


def head_task(task: str) -> HeadTask:
    """The task, if a head is made for it. Raises ConfigError."""
    for known in get_args(HeadTask):
        if task == known:
            return known
    raise ConfigError(f"`--task` is {task!r}; allowed: {', '.join(TASKS)}.")


def scorer(task: HeadTask) -> Callable[[Sequence[Example], Sequence[Mapping[str, Any]]], Mapping[str, float]]:
    """The task's metrics, and as `score` the one that weights are chosen by."""

    def scored(rows: Sequence[Example], predictions: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
        found = score(task, rows, predictions)
        return {**found.metrics, "score": found.metrics[found.main]}

    return scored


def predict_file(model: str, task: str, data: Path, out: Path, report: Report) -> int:
    """Write what a model says of the rows of `data`, one object a line in their order; returns how many. A killed call is gone on with.

    Args:
        model: a folder that was tuned; a model that writes may have any name that `[model] base` takes, or the URL of a server.

    Raises:
        ConfigError: the folder was tuned for another task, or `out` is `data`.
        DataError: `data` breaks its format, or asks nothing.
    """
    check_apart(out, (out,), {"--data": [data]})
    if task in get_args(WritingTask):
        return predict_writing(model, cast(WritingTask, task), data, out, report)
    file = TaskFile(path=data, rows=dict(numbered_rows(data, cast(Task, head_task(task)))))
    check_asked(file, cast(Task, task))
    rows = list(file.rows.values())
    _, predictions = open_folder(Path(model), task)

    def predict(start: int) -> Generator[dict[str, Any]]:
        with closing(predictions(rows[start:])) as found:
            yield from placed(found, file.places[start:])

    keep_predictions(model, task, rows, predict, out, report)
    return len(rows)


def _without_duplicates(train: TaskFile, held_out: TaskFile, drop: bool, say: Say) -> TaskFile:
    """The training file, without the rows that `held_out` asks too where they are to be dropped. Raises DataError where none is left."""
    lines = set(in_both(train, held_out))
    if lines and drop:
        say(f"{len(lines)} rows of '{train.path}' ask what '{held_out.path}' asks too; they are left out.")
    elif lines:
        say(
            f"{len(lines)} rows of '{train.path}' ask what '{held_out.path}' asks too (line {min(lines)} first); `--drop-duplicates` leaves them out."
        )
    kept = {line: row for line, row in train.rows.items() if not (drop and line in lines)}
    if not kept:
        raise DataError(f"All rows of '{train.path}' stand in '{held_out.path}' too. Give other rows to learn from.")
    return replace(train, rows=kept)
