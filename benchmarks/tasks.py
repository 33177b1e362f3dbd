"""Task adaptation on public sets: Banking77 (all rows, and ten a class), Chinese resume NER, FewCLUE's sentiment and headlines.

    python benchmarks/tasks.py --data ../shared/data [--only NAME ...] [--seeds 3] [--chinese-base MODEL]

Every set is tuned by `noria tune` and measured by `noria evaluate` on its official test rows, which nothing else looks at: of sets without a
development part a twentieth of the training rows, by their own text, chooses the best weights; with ten rows a class those rows themselves do.
Prints and writes each seed's figure, mean and spread, and the minutes: benchmarks/results/tasks.json.
"""

import argparse
import csv
import hashlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from _harness import ROOT, print_figures, write_results

Row = dict[str, Any]
Sides = tuple[list[Row], list[Row], list[Row]]
"""To learn from, to choose by, to measure by."""
DEV_SHARE = 20
"""One training row in so many chooses the best weights where a set has no development part."""
SHOTS = 10


def banking77(data: Path, _seed: int) -> Sides:
    rows, test = (_csv(data / "banking77" / name) for name in ("train.csv", "test.csv"))
    dev = [row for row in rows if _number(row["text"]) % DEV_SHARE == 0]
    return [row for row in rows if _number(row["text"]) % DEV_SHARE], dev, test


def banking77_10(data: Path, seed: int) -> Sides:
    """Ten rows of each class, drawn by the seed."""
    by_class: defaultdict[str, list[Row]] = defaultdict(list)
    for row in _csv(data / "banking77/train.csv"):
        by_class[row["label"]].append(row)
    rng = random.Random(seed)
    rows = [row for label in sorted(by_class) for row in rng.sample(by_class[label], SHOTS)]
    return rows, rows, _csv(data / "banking77/test.csv")


def resume_ner(data: Path, _seed: int) -> Sides:
    train, dev, test = (_bmes(data / "resume_ner" / f"{side}.char.bmes") for side in ("train", "dev", "test"))
    return train, dev, test


def fewclue(name: str, label: str) -> Callable[[Path, int], Sides]:
    def read(data: Path, _seed: int) -> Sides:
        train, dev, test = (
            [{"text": row["sentence"], "label": str(row[label])} for row in _json_lines(data / "fewclue" / name / f"{side}.json")]
            for side in ("train_few_all", "dev_few_all", "test_public")
        )
        return train, dev, test

    return read


SETS: dict[str, tuple[str, str, Callable[[Path, int], Sides]]] = {
    "banking77": ("classify", "accuracy", banking77),
    "banking77_10": ("classify", "accuracy", banking77_10),
    "resume_ner": ("tag", "f1", resume_ner),
    "eprstmt": ("classify", "accuracy", fewclue("eprstmt", "label")),
    "tnews": ("classify", "accuracy", fewclue("tnews", "label_desc")),
}
CHINESE = ("resume_ner", "eprstmt", "tnews")
MINUTES = {"banking77": 12.0, "banking77_10": 3.0, "resume_ner": 12.0, "eprstmt": 2.0, "tnews": 4.0}


def one(name: str, data: Path, seed: int, base: str | None, work: Path, options: list[str]) -> dict[str, float]:
    """Tune by one seed and measure on the test rows."""
    task, metric, read = SETS[name]
    work.mkdir(parents=True, exist_ok=True)
    for side, rows in zip(("train", "dev", "test"), read(data, seed), strict=True):
        (work / f"{side}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    command = ["tune", "--task", task, "--train", str(work / "train.jsonl"), "--eval", str(work / "dev.jsonl"), "--out", str(work / "out")]
    command += ["--minutes", str(MINUTES[name]), "--set", f"seed={seed}", *(["--base", base] if base else []), *options]
    made = _noria(command)
    found = _noria(["evaluate", "--task", task, "--model", str(work / "out"), "--data", str(work / "test.jsonl")])
    return {"test": found["metrics"][metric], "dev": made[metric], "minutes": made["train_seconds"] / 60}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--only", nargs="*", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--chinese-base", help="the base of the Chinese sets; by default what `noria tune` takes")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="passed on to `noria tune`")
    options = parser.parse_args()
    passed_on = [part for setting in options.set for part in ("--set", setting)]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for of in options.only:
            base = options.chinese_base if of in CHINESE else None
            runs = [one(of, options.data.resolve(), seed, base, Path(name) / f"{of}-{seed}", passed_on) for seed in range(options.seeds)]
            scores = [run["test"] for run in runs]
            figures |= {f"{of}_seed_{seed}": score for seed, score in enumerate(scores)}
            figures |= {f"{of}_mean": statistics.fmean(scores), f"{of}_spread": max(scores) - min(scores)}
            figures |= {f"{of}_dev": statistics.fmean(run["dev"] for run in runs), f"{of}_minutes": statistics.fmean(run["minutes"] for run in runs)}
            print_figures(figures)
            write_results("tasks", figures)


def _noria(arguments: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "noria.cli.main", *arguments, "--json"]
    return json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _csv(path: Path) -> list[Row]:
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
