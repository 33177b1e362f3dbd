"""A search for better settings: trials of a task's tuning, chosen by what earlier ones found (TPE, Bergstra et al. 2011), poor ones ended early.

In: a request of `noria tune`, what is drawn and how many trials. Out: the best trial's folder as `--out`, with `search.json` (every trial, what
mattered) and its picture beside it. Trials stand in a database file in the folder, so that a killed search goes on: a trial that was running is run
to its end with the settings it has, and each draw depends, with one worker, on the seed, the trial's number, the setting and earlier trials alone. A
trial whose training fails counts as one that found nothing. The evaluation file decides; no test file is ever read.

The same command given again while it runs is a second worker: each trial has a lock of its own, and the last worker to end keeps the best.
"""

import json
import shutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from noria.errors import ConfigError, ModelError
from noria.lifecycle.search_picture import draw_search
from noria.lifecycle.search_space import Space
from noria.store import claim, finished, write_file
from noria.store.claim import claim_mark, claimed, give_up, is_claimed, read_told, refuse_other, release_claim
from noria.store.files import copy_folder
from noria.train import TuneConfig
from noria.train.task import DONE, Report, Say, Tuned, Watch
from noria.train.task_config import TaskConfig

SCRATCH, NAME, PICTURE = ".search", "search.json", "search.svg"
DATABASE, LOCK = "trials.db", "next.lock"
LOOK_AGAIN_SECONDS = 0.2
Settings = TypeVar("Settings", TaskConfig, TuneConfig)
Try = Callable[[Settings, Path, Report, Watch], Tuned]
"""Tunes with these settings into this folder; `score` of the metrics is what is searched for."""
MAX_SEED = 2**32


def search(
    config: Settings, space: Space, num_trials: int, request: Mapping[str, Any], out: Path, tuned: Try[Settings], report: Report, say: Say
) -> Tuned:
    """Run trials until there are `num_trials`, and leave the best one's folder as `out`.

    Args:
        config: what every trial takes where nothing is searched; its minutes are shared out among the trials.
        request: what was asked for, as `noria.store.claim` takes it.

    Raises:
        ConfigError: fewer than two trials, or an `out` that was begun otherwise.
        ModelError: every trial failed; `out` is gone.
    """
    if num_trials < 2:
        raise ConfigError(f"`--search` is {num_trials}; give the number of trials, at least 2.")
    scratch = out / SCRATCH
    if told := finished(out, DONE, scratch, request, "metrics"):
        return Tuned(folder=out, metrics=told["metrics"])
    claim(out, scratch, request, "noria tune --search")
    minutes = None if config.minutes is None else config.minutes / num_trials
    study: optuna.Study | None = None
    mark: tuple[int, int] | None = None
    trial: optuna.Trial | None = None
    while True:
        with _alone(out, scratch):
            if told := finished(out, DONE, scratch, request, "metrics"):  # by another worker
                return Tuned(folder=out, metrics=told["metrics"])
            refuse_other(out, claimed(scratch), request)
            if study is None or claim_mark(scratch) != mark:  # a search that failed was begun anew while we slept
                study, mark, trial = _study(scratch, space), claim_mark(scratch), None
            _drop_losers(study, scratch)
            if trial is not None:
                say(_sentence(study, trial.number, num_trials))
            taken = _take(study, space, config.seed, num_trials, scratch)
            if taken is None and not _running(study):
                metrics = _keep_best(study, request, out, scratch)
                release_claim(scratch)
                return Tuned(folder=out, metrics=metrics)
        if taken is None:
            time.sleep(LOOK_AGAIN_SECONDS)
            trial = None
            continue
        trial, drawn, lock = taken
        try:
            settings = type(config).model_validate({**config.model_dump(), **drawn, "minutes": minutes})
            _run_trial(study, trial, settings, scratch / _folder(trial.number), tuned, report)
        finally:
            lock.release()


@contextmanager
def _alone(out: Path, scratch: Path) -> Generator[None]:
    """Workers choose their trials, and end the search, one after the other. Raises ModelError where another one ended it without a result."""
    lock = FileLock(scratch / LOCK, timeout=0, is_singleton=False)
    while is_claimed(scratch):  # a lock makes its folder anew where the search was ended while we waited
        with suppress(Timeout):
            lock.acquire()
            break
        time.sleep(LOOK_AGAIN_SECONDS)
    try:
        if not (out / DONE).is_file() and not (lock.is_locked and is_claimed(scratch)):
            if lock.is_locked:  # what our lock made anew, and nothing of a worker that begins
                for remove in ((scratch / LOCK).unlink, scratch.rmdir, out.rmdir):
                    with suppress(OSError):
                        remove()
            raise ModelError(f"None of the trials could be trained. Another worker on '{out}' told why.")
        yield
    finally:
        lock.release()


def _remove(out: Path, scratch: Path) -> None:
    """Give the folder up, its trials first: what a kill leaves then is a search without trials."""
    (scratch / DATABASE).unlink(missing_ok=True)
    give_up(out, scratch)


def _study(scratch: Path, space: Space) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    storage = f"sqlite:///{scratch / DATABASE}"
    study = optuna.create_study(
        study_name="search", storage=storage, direction="maximize", sampler=_sampler(0, 1), pruner=pruner, load_if_exists=True
    )
    if not study.trials:
        study.enqueue_trial(dict(space.default))
    return study


def _running(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if trial.state == TrialState.RUNNING]


def _take(study: optuna.Study, space: Space, seed: int, num_trials: int, scratch: Path) -> tuple[optuna.Trial, dict[str, Any], FileLock] | None:
    """A trial to run, its settings and the lock that says it is at work: one that a kill left, or a new one; None where all are begun.

    A trial whose lock is free has lost its worker: the system releases the lock of a process that dies.
    """
    for begun in _running(study):
        lock = FileLock(scratch / f"{_folder(begun.number)}.lock", timeout=0, is_singleton=False)
        try:
            lock.acquire()
        except Timeout:
            continue
        if study.trials[begun.number].state != TrialState.RUNNING:  # told between our two looks
            lock.release()
            continue
        trial = optuna.Trial(study, begun._trial_id)  # pyright: ignore[reportPrivateUsage]
        return trial, _drawn(study, trial, space, seed, num_trials), lock
    if sum(trial.state != TrialState.WAITING for trial in study.trials) >= num_trials:
        return None
    trial = study.ask()
    lock = FileLock(scratch / f"{_folder(trial.number)}.lock", timeout=0, is_singleton=False)
    lock.acquire()
    return trial, _drawn(study, trial, space, seed, num_trials), lock


def _drawn(study: optuna.Study, trial: optuna.Trial, space: Space, seed: int, num_trials: int) -> dict[str, Any]:
    """The settings of a trial; those that it has already stay."""
    drawn: dict[str, Any] = {}
    for place, (name, among) in enumerate(space.ranges.items()):
        own_seed = ((seed * 100_003 + trial.number) * 101 + place) % MAX_SEED  # of each draw, so that a kill between two changes none
        study.sampler = _sampler(own_seed, min(6, num_trials // 2))
        if isinstance(among, FloatDistribution):
            drawn[name] = trial.suggest_float(name, among.low, among.high, log=among.log)
        else:
            drawn[name] = trial.suggest_categorical(name, among.choices)
    return drawn


def _sampler(seed: int, num_random: int) -> optuna.samplers.TPESampler:
    """Draws each setting by itself, from the trials that are over: what is begun may be drawn in part."""
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=num_random, multivariate=False, constant_liar=False)


def _run_trial(study: optuna.Study, trial: optuna.Trial, settings: Settings, folder: Path, tuned: Try[Settings], report: Report) -> None:
    """Run a trial and tell the study what came of it."""
    known = study.trials[trial.number].intermediate_values

    def watch(number: int, score: float) -> None:
        if number not in known:  # a trial that goes on after a kill validates again
            trial.report(score, number)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        value = float(tuned(settings, folder, report, watch).metrics["score"])
    except optuna.TrialPruned:
        study.tell(trial.number, state=TrialState.PRUNED)
    except ModelError as error:  # the same settings would fail again
        trial.set_user_attr("error", str(error))
        study.tell(trial.number, state=TrialState.FAIL)
    else:
        study.tell(trial.number, value)


def _folder(number: int) -> str:
    return f"trial-{number}"


def _best(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial with the best score, of equal ones the first; None where none was run to its end."""
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return min(done, key=lambda trial: (-(trial.value or 0.0), trial.number)) if done else None


def _drop_losers(study: optuna.Study, scratch: Path) -> None:
    """Remove the weights of all trials but the best: together they can fill a disk."""
    trials = study.trials  # one look: a trial that another worker ends meanwhile may be better than the best of them
    best = _best(trials)
    for trial in trials:
        if trial.state.is_finished() and trial != best:
            shutil.rmtree(scratch / _folder(trial.number), ignore_errors=True)


def _sentence(study: optuna.Study, number: int, num_trials: int) -> str:
    trial, best = study.trials[number], _best(study.trials)
    ended = {TrialState.PRUNED: "ended early", TrialState.FAIL: f"failed ({trial.user_attrs.get('error')})"}
    found = ended.get(trial.state) or f"{trial.value:.4f}"
    return f"Trial {number + 1} of {num_trials}: {found}" + (f"; best so far {best.value:.4f}." if best else ".")


def _keep_best(study: optuna.Study, request: Mapping[str, Any], out: Path, scratch: Path) -> dict[str, Any]:
    """Copy the best trial's folder to `out` and tell of the search; returns the trial's metrics.

    Raises:
        ModelError: every trial failed; the folder is removed.
    """
    best = _best(study.trials)
    if best is None:
        error = study.trials[-1].user_attrs.get("error")
        _remove(out, scratch)
        raise ModelError(f"None of the trials could be trained; the last one: {error}")
    rows, importance = [_row(trial) for trial in study.trials], _importance(study)
    folder = scratch / _folder(best.number)
    told = read_told(folder / DONE, "metrics")
    copy_folder(folder, out, but=DONE)
    write_file(out / NAME, [json.dumps({"trials": rows, "best": best.number, "importance": importance}, indent=2, ensure_ascii=False) + "\n"])
    draw_search(rows, importance, out / PICTURE)
    told |= {"request": request, "trial": best.params}  # the folder was made by the search, not by one trial's request
    write_file(out / DONE, [json.dumps(told, indent=2) + "\n"])
    return told["metrics"]


def _row(trial: FrozenTrial) -> dict[str, Any]:
    seconds = None if trial.duration is None else round(trial.duration.total_seconds(), 1)
    told = {"number": trial.number, "state": trial.state.name.lower(), "score": trial.value, "seconds": seconds, "settings": trial.params}
    return told | trial.user_attrs


def _importance(study: optuna.Study) -> dict[str, float]:
    """Share of the differences between trials that each setting explains (fANOVA); empty where too few were run to the end."""
    done = [trial for trial in study.trials if trial.state == TrialState.COMPLETE and trial.params]
    if len(done) < 3 or len({trial.value for trial in done}) < 2:
        return {}
    return {
        name: round(share, 4)
        for name, share in optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)).items()
    }
