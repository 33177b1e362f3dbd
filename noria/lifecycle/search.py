"""A search for better settings: trials of a task's tuning, chosen by what earlier ones found (TPE, Bergstra et al. 2011), poor ones ended early.

In: a request of `noria tune` and how many trials. Out: the best trial's folder as `--out`, with `search.json` (every trial, what mattered) beside it.
Trials stand in a database file in the folder, so that a killed search goes on: a trial that was running is run to its end with the settings it has,
and each trial's draw depends on the seed, its number and the trials before it alone. The evaluation file decides; no test file is ever read.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from noria.errors import ConfigError
from noria.store import claim, write_file
from noria.store.files import disk_errors
from noria.train.task import DONE, Report, Say, Tuned, Watch
from noria.train.task_config import LEARNING_RATES, TaskConfig

SCRATCH, NAME = ".search", "search.json"
Try = Callable[[TaskConfig, Path, Report, Watch], Tuned]
"""Tunes with these settings into this folder."""
RATE_RANGE = 4.0
"""How far a trial's rate may be from the default, in both directions."""


def search(config: TaskConfig, num_trials: int, request: Mapping[str, Any], out: Path, tuned: Try, report: Report, say: Say) -> Tuned:
    """Run trials until there are `num_trials`, and leave the best one's folder as `out`.

    Args:
        config: what every trial takes where nothing is searched; its minutes are shared out among the trials.
        request: what was asked for, as `noria.store.claim` takes it.

    Raises:
        ConfigError: fewer than two trials, or an `out` that was begun otherwise.
    """
    if num_trials < 2:
        raise ConfigError(f"`--search` is {num_trials}; give the number of trials, at least 2.")
    scratch = out / SCRATCH
    if not (out / DONE).is_file():
        claim(out, scratch, request, "noria tune --search")
        study = _study(scratch, _default(config))
        _run_trials(study, config, num_trials, scratch, tuned, report, say)
        _keep_best(study, out, scratch)
    told = json.loads((out / DONE).read_text(encoding="utf-8"))
    shutil.rmtree(scratch, ignore_errors=True)
    return Tuned(folder=out, metrics=told["metrics"])


def _study(scratch: Path, default: dict[str, Any]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2)
    storage = f"sqlite:///{scratch / 'trials.db'}"
    study = optuna.create_study(study_name="search", storage=storage, direction="maximize", pruner=pruner, load_if_exists=True)
    if not study.trials:
        study.enqueue_trial(default)
    return study


def _run_trials(study: optuna.Study, config: TaskConfig, num_trials: int, scratch: Path, tuned: Try, report: Report, say: Say) -> None:
    minutes = None if config.minutes is None else config.minutes / num_trials
    while True:
        begun = [trial for trial in study.trials if trial.state == TrialState.RUNNING]
        if not begun and sum(trial.state.is_finished() for trial in study.trials) >= num_trials:
            return
        number = begun[0].number if begun else sum(trial.state != TrialState.WAITING for trial in study.trials)
        study.sampler = optuna.samplers.TPESampler(seed=config.seed * 100_003 + number, n_startup_trials=min(6, num_trials // 2))
        trial = optuna.Trial(study, begun[0]._trial_id) if begun else study.ask()  # pyright: ignore[reportPrivateUsage]
        settings = config.model_copy(update={**_drawn(trial, _default(config)), "minutes": minutes})
        value = _value_of(study, trial, settings, scratch / f"trial-{number}", tuned, report)
        best = max(t.value for t in study.trials if t.value is not None) if value is None else max(value, study.best_value)
        say(f"Trial {number + 1} of {num_trials}: {'ended early' if value is None else f'{value:.4f}'}; best so far {best:.4f}.")


def _value_of(study: optuna.Study, trial: optuna.Trial, settings: TaskConfig, folder: Path, tuned: Try, report: Report) -> float | None:
    """Run a trial and tell the study; None where it was ended early."""
    known = study.trials[trial.number].intermediate_values

    def watch(number: int, score: float) -> None:
        if number not in known:  # a trial that goes on after a kill validates again
            trial.report(score, number)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        value = float(tuned(settings, folder, report, watch).metrics["score"])
    except optuna.TrialPruned:
        shutil.rmtree(folder, ignore_errors=True)
        study.tell(trial.number, state=TrialState.PRUNED)
        return None
    study.tell(trial.number, value)
    return value


def _default(config: TaskConfig) -> dict[str, Any]:
    """The settings that the first trial has."""
    rate = config.learning_rate or LEARNING_RATES[config.method]
    names = ("batch", "head_rate", "dropout", "weight_decay", "warmup", "label_smoothing")
    return {"learning_rate": rate, **{name: getattr(config, name) for name in names}}


def _drawn(trial: optuna.Trial, default: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial."""
    rate = default["learning_rate"]
    return {
        "learning_rate": trial.suggest_float("learning_rate", rate / RATE_RANGE, rate * RATE_RANGE, log=True),
        "batch": trial.suggest_categorical("batch", sorted({16, 32, 64, default["batch"]})),
        "head_rate": trial.suggest_float("head_rate", 0.5, 50.0, log=True),
        "dropout": trial.suggest_categorical("dropout", list(dict.fromkeys([None, 0.1, 0.2, default["dropout"]]))),
        "weight_decay": trial.suggest_float("weight_decay", 0.0, 0.1),
        "warmup": trial.suggest_float("warmup", 0.0, 0.3),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
    }


def _keep_best(study: optuna.Study, out: Path, scratch: Path) -> None:
    best = study.best_trial
    told = {
        "trials": [_row(trial) for trial in study.trials],
        "best": best.number,
        "importance": _importance(study),
    }
    with disk_errors(out):
        folder = scratch / f"trial-{best.number}"
        for made in sorted(folder.iterdir(), key=lambda path: path.name == DONE):  # what says that all is there comes last
            if made.name == DONE:
                write_file(out / NAME, [json.dumps(told, indent=2) + "\n"])
            shutil.copytree(made, out / made.name, dirs_exist_ok=True) if made.is_dir() else shutil.copyfile(made, out / made.name)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    seconds = None if trial.duration is None else round(trial.duration.total_seconds(), 1)
    return {"number": trial.number, "state": trial.state.name.lower(), "score": trial.value, "seconds": seconds, "settings": trial.params}


def _importance(study: optuna.Study) -> dict[str, float]:
    """Share of the differences between trials that each setting explains (fANOVA); empty where too few were run to the end."""
    done = [trial for trial in study.trials if trial.state == TrialState.COMPLETE and trial.params]
    if len(done) < 3 or len({trial.value for trial in done}) < 2:
        return {}
    return {
        name: round(share, 4)
        for name, share in optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)).items()
    }
