"""`--method best`: methods race on the same rows, and after each round the better half goes on (successive halving, Jamieson and Talwalkar 2016).

In: what makes a method's folder in given minutes, and what asks a folder the rows of the evaluation file. Out: the best one's folder as `--out`, with
`race.json`: every round, what each method took and scored, and the cheapest one that the rows do not show to be worse than the best. The minutes are
for all of it. A killed race goes on: finished folders are taken as they are.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ConfigDict, Field

from noria.config import MOST_MINUTES, Section
from noria.data.examples import WritingTask
from noria.errors import ConfigError, DataError, DependencyError, ModelError, NoriaError
from noria.evaluate.paired import compare, holm
from noria.lifecycle.standing import Standing
from noria.store import claim, finished, write_file
from noria.store.claim import give_up
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
UNHEEDED = {"retrieval": ("thought", "votes")}
"""Settings that a method refuses; in a race they are the others'."""
LEARN_BY_TIME = ("contrast", "lora", "full")
"""Methods that more time makes better; the others run once."""
LEVEL = 0.05
MOST_ROWS, FEWEST_ROWS = 300, 30
"""Rows of the evaluation file that the methods are asked in a race."""
SECONDS_A_ROW, SECONDS_A_TEXT = 0.5, 2.0
"""What a model of 135 million parameters on two cores takes for a label, an answer or a call, and for a text."""
SHARE_FOR_ASKING, LEAST_SHARE_FOR_MAKING = 0.4, 0.2
"""Of a round: where the rows to ask are chosen, and however long asking takes."""
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
    """Time for all of it: in each round every method has a share, and what asking it takes is taken off first."""


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


def num_rounds(num_methods: int) -> int:
    """Rounds until one is left."""
    return max(1, math.ceil(math.log2(num_methods)))


def num_rows(task: str, methods: Mapping[str, Mapping[str, Any]], minutes: float) -> int:
    """Rows of the evaluation file that all methods, with their settings, are asked: as many as leave most of the first round to making them."""
    each = sum(asking_seconds(task, method, 1, settings) for method, settings in methods.items())
    room = SHARE_FOR_ASKING * 60 * minutes / num_rounds(len(methods))
    return max(FEWEST_ROWS, min(MOST_ROWS, int(room / each) if each else MOST_ROWS))


def asking_seconds(task: str, method: str, count: int, settings: Mapping[str, Any] | None = None) -> float:
    """What asking a method's folder so many rows takes, as far as it can be told: heads and nearest cases answer at once, what writes does not.

    Args:
        settings: of the method; `votes` and `thought` take time.
    """
    if method == "retrieval" or (task not in get_args(WritingTask) and method != "prompting"):
        return 0.0
    votes, thought = (settings or {}).get("votes", 1), (settings or {}).get("thought", False)
    return count * votes * (SECONDS_A_ROW if task in ("classify", "answer", "tools") and not thought else SECONDS_A_TEXT)


def race(
    methods: Sequence[str],
    minutes: float,
    request: Mapping[str, Any],
    out: Path,
    make: Make,
    ask: Ask,
    say: Say,
    asking: Callable[[str], float] = lambda _: 0.0,
) -> Tuned:
    """Run the rounds and leave the best folder as `out`.

    Args:
        asking: seconds that `ask` takes of a method's folder, as far as they can be told.

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
    last = num_rounds(len(runners))
    rounds: list[list[Lap]] = []
    found: dict[str, tuple[Lap, Standing, Path]] = {}
    for number in range(1, last + 1):
        working = [method for method in runners if method in LEARN_BY_TIME or method not in found]
        share = _share(60 * minutes / last, [asking(method) for method in working])
        laps = [_lap(method, share, scratch / f"round-{number}" / method, make, ask, found) for method in runners]
        rounds.append(laps)
        if not found:
            give_up(out, scratch)  # the same would fail again: let other rows or settings be tried there
            raise ModelError(f"No method could finish: {laps[0].reason}")
        say(f"Round {number} of {last}: " + ", ".join(_result(lap) for lap in laps) + ".")
        ranked = sorted((method for method in runners if method in found), key=lambda method: -found[method][1].score)
        runners = ranked[: max(1, math.ceil(len(laps) / 2))]
    best = runners[0]
    against = _against_the_best(found, best)
    cheapest = min((method for method, one in against.items() if not one["worse"]), key=lambda method: found[method][0].seconds)
    say(f"Best: {best}; the cheapest that is not shown to be worse: {cheapest} ({found[cheapest][0].seconds:.0f} s).")
    report = {"best": best, "cheapest": cheapest, "rounds": [[asdict(lap) for lap in laps] for laps in rounds], "against_the_best": against}
    return _kept(out, found[best][2], request, report)


def _share(seconds: float, asking: Sequence[float]) -> float:
    """Minutes that each of the methods that work in a round may take until it can be asked."""
    return max(LEAST_SHARE_FOR_MAKING * seconds, seconds - sum(asking)) / 60 / max(1, len(asking))


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
    except (ConfigError, DataError, DependencyError, ModelError) as error:
        return Lap(method=method, minutes=round(minutes, 3), seconds=0.0, score=None, reason=str(error))
    seconds = float(made.metrics["train_seconds"]) + (found[method][0].seconds if method in found else 0.0)
    lap = Lap(method=method, minutes=round(minutes, 3), seconds=round(seconds, 1), score=standing.score)
    if method not in found or standing.score >= found[method][1].score:
        found[method] = lap, standing, folder
    return lap


def _against_the_best(found: Mapping[str, tuple[Lap, Standing, Path]], best: str) -> dict[str, dict[str, Any]]:
    """Each method against the best on the same rows, the p-values corrected for how many are held against it (Holm)."""
    first = found[best][1]
    others = {method: standing for method, (_, standing, _) in found.items() if method != best}
    told = {method: compare(first.counted, standing.counted, first.groups, first.metric) for method, standing in others.items()}
    corrected = holm([one["p"] for one in told.values()])
    told = {method: {**one, "p_holm": p} for (method, one), p in zip(told.items(), corrected, strict=True)}
    told[best] = {"effect": 0.0, "p": 1.0, "p_holm": 1.0}
    return {method: {**told[method], "worse": told[method]["p_holm"] < LEVEL and told[method]["effect"] < 0} for method in found}


def _kept(out: Path, folder: Path, request: Mapping[str, Any], report: Mapping[str, Any]) -> Tuned:
    """Copy the best folder; what says that all is there comes last."""
    copy_folder(folder, out, but=DONE)
    write_file(out / NAME, [json.dumps(report, indent=2, ensure_ascii=False) + "\n"])
    told = json.loads((folder / DONE).read_text(encoding="utf-8"))
    metrics = {**told["metrics"], "method": report["best"], "cheapest": report["cheapest"]}
    write_file(out / DONE, [json.dumps({**told, "request": request, "metrics": metrics}, indent=2) + "\n"])
    finished(out, DONE, out / SCRATCH, request)
    return Tuned(folder=out, metrics=metrics)
