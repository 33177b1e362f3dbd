"""Task adaptation on public sets: Banking77 (all rows, and ten a class), Chinese resume NER, FewCLUE's sentiment and headlines.

    python benchmarks/tasks.py --data ../shared/data [--only NAME ...] [--seeds 3] [--chinese-base MODEL]

Every set is tuned by `noria tune` and measured by `noria evaluate` on its official test rows, which nothing else looks at: of sets without a
development part a twentieth of the training rows, by their own text, chooses the best weights; with ten rows a class those rows themselves do.
Everything is tuned as `noria tune` does by itself, which is by contrasts where there are ten rows a class; `banking77_large` is all rows from
all-mpnet-base-v2, installed as its message says. In `banking77_scope` a quarter of the intents, drawn by the seed, is never learnt: half of them
stand as out of scope among the rows that choose the threshold, the other half among those that are measured. Prints each seed's figure, mean and
spread, and the minutes, and writes benchmarks/results/tasks_NAME.json for each set.
"""

import argparse
import csv
import hashlib
import json
import random
import shlex
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _harness import noria, print_figures, write_results

from noria.data.task_checks import OUT_OF_SCOPE
from noria.model import resolve

Row = dict[str, Any]
Sides = tuple[list[Row], list[Row], list[Row]]
"""To learn from, to choose by, to measure by."""
DEV_SHARE = 20
"""One training row in so many chooses the best weights where a set has no development part."""
SHOTS = 10


def banking77(data: Path, _seed: int) -> Sides:
    rows, test = (read_csv(data / "banking77" / name) for name in ("train.csv", "test.csv"))
    dev = [row for row in rows if _number(row["text"]) % DEV_SHARE == 0]
    return [row for row in rows if _number(row["text"]) % DEV_SHARE], dev, test


def banking77_10(data: Path, seed: int) -> Sides:
    """Ten rows of each class, drawn by the seed."""
    by_class: defaultdict[str, list[Row]] = defaultdict(list)
    for row in read_csv(data / "banking77/train.csv"):
        by_class[row["label"]].append(row)
    rng = random.Random(seed)
    rows = [row for label in sorted(by_class) for row in rng.sample(by_class[label], SHOTS)]
    return rows, rows, read_csv(data / "banking77/test.csv")


def banking77_scope(data: Path, seed: int) -> Sides:
    """A quarter of the intents is none to the model: those that the threshold is chosen on are others than those that it is measured on."""
    train, dev, test = banking77(data, seed)
    names = sorted({row["label"] for row in train})
    strange = random.Random(seed).sample(names, len(names) // 4)
    seen, unseen = set(strange[::2]), set(strange[1::2])
    known = [row for row in train if row["label"] not in strange]
    return (
        known,
        [_or_none(row, seen) for row in dev if row["label"] not in unseen],
        [_or_none(row, unseen) for row in test if row["label"] not in seen],
    )


def _or_none(row: Row, strange: set[str]) -> Row:
    return {**row, "label": OUT_OF_SCOPE} if row["label"] in strange else row


def resume_ner(data: Path, _seed: int) -> Sides:
    """Four of the 3,821 training rows break BMES (an entity without an end or a beginning) and are left out, as `noria tune` would ask for."""
    train, dev, test = (_bmes(data / "resume_ner" / f"{side}.char.bmes") for side in ("train", "dev", "test"))
    return [row for row in train if _is_whole(row["tags"])], dev, test


def _is_whole(tags: Sequence[str]) -> bool:
    """Whether every entity begins with B and ends with E, or is an S."""
    open_kind = ""
    for position, _, kind in (tag.partition("-") for tag in tags):
        if (position in ("M", "E")) != bool(open_kind) or (open_kind and kind != open_kind):
            return False
        open_kind = kind if position in ("B", "M") else ""
    return not open_kind


def fewclue(name: str, label: str) -> Callable[[Path, int], Sides]:
    def read(data: Path, _seed: int) -> Sides:
        train, dev, test = (
            [{"text": row["sentence"], "label": str(row[label])} for row in _json_lines(data / "fewclue" / name / f"{side}.json")]
            for side in ("train_few_all", "dev_few_all", "test_public")
        )
        return train, dev, test

    return read


@dataclass(frozen=True, kw_only=True)
class Set:
    """A public set, and how it is tuned."""

    task: str
    metric: str
    minutes: float
    read: Callable[[Path, int], Sides]
    base: str | None = None
    is_chinese: bool = False
    also: tuple[str, ...] = ()
    """Further metrics of the test rows."""


SETS = {
    "banking77": Set(task="classify", metric="accuracy", minutes=12.0, read=banking77),
    "banking77_large": Set(task="classify", metric="accuracy", minutes=15.0, read=banking77, base="all-mpnet-base-v2"),
    "banking77_10": Set(task="classify", metric="accuracy", minutes=3.0, read=banking77_10),
    "banking77_scope": Set(task="classify", metric="accuracy", minutes=8.0, read=banking77_scope, also=("out_of_scope_recall", "in_scope_accuracy")),
    "resume_ner": Set(task="tag", metric="f1", minutes=12.0, read=resume_ner, is_chinese=True),
    "eprstmt": Set(task="classify", metric="accuracy", minutes=2.0, read=fewclue("eprstmt", "label"), is_chinese=True),
    "tnews": Set(task="classify", metric="accuracy", minutes=4.0, read=fewclue("tnews", "label_desc"), is_chinese=True),
}


def tune_command(name: str, work: Path, seed: int, chinese_base: str | None, settings: Sequence[str]) -> list[str]:
    """The arguments of `noria` that tune a set whose files stand in `work`; what is set by hand comes last and counts."""
    of = SETS[name]
    command = ["tune", "--task", of.task, "--train", str(work / "train.jsonl"), "--eval", str(work / "dev.jsonl"), "--out", str(work / "out")]
    base = chinese_base if of.is_chinese else of.base
    command += ["--minutes", str(of.minutes), *(["--base", base] if base else [])]
    return [*command, *(part for setting in (f"seed={seed}", *settings) for part in ("--set", setting))]


def one(name: str, options: argparse.Namespace, seed: int, work: Path) -> dict[str, float]:
    """Tune by one seed and measure on the test rows."""
    of = SETS[name]
    work.mkdir(parents=True, exist_ok=True)
    for side, rows in zip(("train", "dev", "test"), of.read(options.data.resolve(), seed), strict=True):
        (work / f"{side}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    made = noria(*tune_command(name, work, seed, options.chinese_base, options.set))
    found = noria("evaluate", "--task", of.task, "--model", str(work / "out"), "--data", str(work / "test.jsonl"))
    also = {name: found["metrics"][name] for name in of.also}
    return {"test": found["metrics"][of.metric], "dev": made[of.metric], "minutes": made["train_seconds"] / 60, **also}


def figures_of(runs: list[dict[str, float]]) -> dict[str, float]:
    """The figures of a set from its runs, one a seed."""
    scores = [run["test"] for run in runs]
    figures = {f"seed_{seed}": score for seed, score in enumerate(scores)}
    figures |= {"mean": statistics.fmean(scores), "spread": max(scores) - min(scores)}
    return figures | {part: statistics.fmean(run[part] for run in runs) for part in runs[0] if part != "test"}


def command_of(options: argparse.Namespace, name: str) -> str:
    """The command that makes the figures of one set."""
    command = ["python", "benchmarks/tasks.py", "--data", str(options.data), "--only", name, "--seeds", str(options.seeds)]
    command += ["--chinese-base", options.chinese_base] if options.chinese_base else []
    return shlex.join([*command, *(part for setting in options.set for part in ("--set", setting))])


def main() -> None:
    options = parser().parse_args()
    for base in {SETS[name].base for name in options.only} - {None}:
        resolve(base)  # what is missing is said before hours are spent
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            runs = [one(name, options, seed, Path(folder) / f"{name}-{seed}") for seed in range(options.seeds)]
            figures = figures_of(runs)
            print(name)
            print_figures(figures)
            write_results(f"tasks_{name}", figures, command_of(options, name))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    made.add_argument("--only", nargs="*", choices=list(SETS), default=list(SETS))
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--chinese-base", help="the base of the Chinese sets; by default what `noria tune` takes")
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="passed on to `noria tune` for every set")
    return made


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def read_csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]


def _json_lines(path: Path) -> Iterable[Row]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _bmes(path: Path) -> list[Row]:
    """One token and its tag a line, an empty line between rows."""
    rows: list[Row] = [{"tokens": [], "tags": []}]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            token, tag = line.split()
            rows[-1]["tokens"].append(token)
            rows[-1]["tags"].append(tag)
        elif rows[-1]["tokens"]:
            rows.append({"tokens": [], "tags": []})
    return [row for row in rows if row["tokens"]]


if __name__ == "__main__":
    main()
