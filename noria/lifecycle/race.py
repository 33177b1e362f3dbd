"""`--method best`: methods race on the same rows, and after each round the better half goes on (successive halving, Jamieson and Talwalkar 2016).

In: what makes a method's folder in given minutes, and what asks a folder the rows of the evaluation file. Out: the best one's folder as `--out`, with
`race.json`: every round, what each method took and scored, and the cheapest one that the rows do not show to be worse than the best.
A killed race goes on: finished folders are taken as they are.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field

from noria.config import MOST_MINUTES, Section
from noria.errors import ConfigError, DataError, ModelError, NoriaError
from noria.evaluate.paired import compare
from noria.lifecycle.standing import Standing
from noria.store import claim, finished, write_file
from noria.store.files import copy_folder
from noria.train.task import DONE, Say, Tuned

SCRATCH, NAME = ".race", "race.json"
RUNNERS: dict[str, tuple[str, ...]] = {
    "classify": ("retrieval", "head", "contrast", "lora", "full", "prompting"),
    "embed": ("lora", "full"),
    "score": ("head", "lora", "full"),
    "tag": ("head", "lora", "full"),
    "answer": ("prompting", "head", "lora", "full"),
    **dict.fromkeys(("chat", "tools", "summarize", "rewrite"), ("retrieval", "prompting", "lora", "full")),
}
"""The methods that race for a task."""
UNHEEDED = {"retrieval": ("thought", "votes"), "contrast": ("patience", "average")}
"""Settings that a method refuses; in a race they are the others'."""
LEARN_BY_TIME = ("contrast", "lora", "full")
"""Methods that more time makes better; the others run once, and what they do not need is the others'."""
LEVEL = 0.05
MOST_ROWS, FEWEST_ROWS, ROWS_A_MINUTE = 300, 30, 20
"""Rows of the evaluation file that the methods are asked in a race: a prompted model takes half a second for one."""
Make = Callable[[str, float, Path], Tuned]
"""Makes a method's folder in so many minutes."""
Fault = Callable[[str, Mapping[str, Any]], NoriaError | None]
"""What keeps a method with such settings from the task, as far as it is known before anything is made."""
Ask = Callable[[Path], Standing]
"""What a folder is worth on the rows of the race, the same for all."""


class RaceConfig(Section):
    """What `--set` sets for `--method best`; the methods take of their own settings those that are named too."""

    model_config = ConfigDict(extra="allow")

    method: Literal["best"]
    minutes: float = Field(default=20.0, gt=0, le=MOST_MINUTES)
    """Training time of the methods that more time makes better; making the others, and asking all of them, comes on top."""


@dataclass(frozen=True, kw_only=True)
class Lap:
    """A method in a round."""

    method: str
    minutes: float
    """What it was given."""
    seconds: float
    """What its training took."""
    score: float | None
    """On the rows of the race; None where it could not finish."""
    reason: str | None = None


def race(methods: Sequence[str], minutes: float, request: Mapping[str, Any], out: Path, make: Make, ask: Ask, say: Say) -> Tuned:
    """Run the rounds and leave the best folder as `out`.

    Raises:
        ConfigError: an `out` that was begun otherwise.
        ModelError: no method could finish.
    """
    scratch = out / SCRATCH
    told = finished(out, DONE, scratch, request, "metrics")
    if told is not None:
        return Tuned(folder=out, metrics=told["metrics"])
    claim(out, scratch, request, "noria tune --method best")
    runners = list(methods)
    num_rounds = max(1, math.ceil(math.log2(len(runners))))
    rounds: list[list[Lap]] = []
    found: dict[str, tuple[Lap, Standing, Path]] = {}
    for number in range(1, num_rounds + 1):
        learning = [method for method in runners if method in LEARN_BY_TIME] or runners
        share = minutes / num_rounds / len(learning)
        laps = [_lap(method, share, scratch / f"round-{number}" / method, make, ask, found) for method in runners]
        rounds.append(laps)
        if not found:
            raise ModelError(f"No method could finish: {laps[0].reason}")
        say(f"Round {number} of {num_rounds}: " + ", ".join(_result(lap) for lap in laps) + ".")
        ranked = sorted((method for method in runners if method in found), key=lambda method: -found[method][1].score)
        runners = ranked[: max(1, math.ceil(len(laps) / 2))]
    best = runners[0]
    against = _against_the_best(found, best)
    cheapest = min((method for method, one in against.items() if not one["worse"]), key=lambda method: found[method][0].seconds)
    say(f"Best: {best}; the cheapest that is not shown to be worse: {cheapest} ({found[cheapest][0].seconds:.0f} s).")
    report = {"best": best, "cheapest": cheapest, "rounds": [[asdict(lap) for lap in laps] for laps in rounds], "against_the_best": against}
    return _kept(out, found[best][2], request, report)


def refuse_wrong(settings: Mapping[str, Mapping[str, Any]], fault: Fault) -> None:
    """Raise what is wrong with a setting, if it is for every method that heeds it: a mistake of the user's, that would cost the race its methods.

    Args:
        settings: of each method those that were set and are its own. fault: is asked of one setting at a time, and of none.
    """

    @cache
    def able(method: str) -> bool:
        return fault(method, {}) is None

    for name in dict.fromkeys(name for own in settings.values() for name in own):
        faults = [fault(method, {name: own[name]}) for method, own in settings.items() if name in own and able(method)]
        if faults and None not in faults:
            raise next(error for error in faults if error is not None)


def _result(lap: Lap) -> str:
    return f"{lap.method} did not finish ({lap.reason})" if lap.score is None else f"{lap.method} {lap.score:.4f}"


def _lap(method: str, minutes: float, folder: Path, make: Make, ask: Ask, found: dict[str, tuple[Lap, Standing, Path]]) -> Lap:
    if method in found and method not in LEARN_BY_TIME:
        return found[method][0]
    try:
        made = make(method, minutes, folder)
        standing = ask(folder)
    except (ConfigError, DataError, ModelError) as error:
        return Lap(method=method, minutes=round(minutes, 3), seconds=0.0, score=None, reason=str(error))
    seconds = float(made.metrics["train_seconds"]) + (found[method][0].seconds if method in found else 0.0)
    lap = Lap(method=method, minutes=round(minutes, 3), seconds=round(seconds, 1), score=standing.score)
    if method not in found or standing.score >= found[method][1].score:
        found[method] = lap, standing, folder
    return lap


def _against_the_best(found: Mapping[str, tuple[Lap, Standing, Path]], best: str) -> dict[str, dict[str, Any]]:
    """Each method against the best on the same rows."""
    first = found[best][1]
    told: dict[str, dict[str, Any]] = {}
    for method, (_, standing, _) in found.items():
        one = {"effect": 0.0, "p": 1.0} if method == best else compare(first.counted, standing.counted, first.groups, first.metric)
        told[method] = {**one, "worse": one["p"] < LEVEL and one["effect"] < 0}
    return told


def _kept(out: Path, folder: Path, request: Mapping[str, Any], report: Mapping[str, Any]) -> Tuned:
    """Copy the best folder; what says that all is there comes last."""
    copy_folder(folder, out, but=DONE)
    write_file(out / NAME, [json.dumps(report, indent=2, ensure_ascii=False) + "\n"])
    told = json.loads((folder / DONE).read_text(encoding="utf-8"))
    metrics = {**told["metrics"], "method": report["best"], "cheapest": report["cheapest"]}
    write_file(out / DONE, [json.dumps({**told, "request": request, "metrics": metrics}, indent=2, ensure_ascii=False) + "\n"])
    finished(out, DONE, out / SCRATCH, request)
    return Tuned(folder=out, metrics=metrics)
