"""Tool use by every method of `noria tune`, on the same dialogues of Schema-Guided Dialogue: quality, minutes, memory.

    python benchmarks/sgd_methods.py --data ../shared/data/sgd [--minutes 8] [--only METHOD ...] [--seeds 1]

285 dialogues are learnt from (or are the cases that are shown or copied), 20 choose the weights or the number of cases, and the calls and replies
of 60 others are judged: exact calls, and calls by name. Each method gets the same minutes; those that train nothing need fewer, and know no seed.
Peak memory is that of the process that tunes. Prints and writes the mean of each method's seeds and their spread (largest less smallest):
benchmarks/results/sgd_methods.json. Parts made with `--only` by one commit and the same options are gathered there.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from _harness import COMMIT, NORIA, RESULTS_DIR, ROOT, earlier, print_figures, write_results
from sgd_loop import Services, held_out_decisions, write_rows

NUM_DEV = 20
METHODS = {
    "full": {"method": "full"},
    "lora": {"method": "lora", "learning_rate": 1.5e-3},
    "dora": {"method": "dora", "learning_rate": 1.5e-3},
    "prompt": {"method": "prompt"},
    "zero_shot": {"method": "prompting", "num_examples": 0},
    "few_shot": {"method": "prompting", "num_examples": 2},
    "retrieval": {"method": "retrieval"},
}
NOT_JUDGED = ("n", "minutes", "gigabytes")
TRAINED = ("full", "lora", "dora", "prompt")
SETTINGS = {"call_weight": 6.0, "batch_tokens": 768}


def noria(*arguments: str) -> tuple[dict[str, Any], float]:
    """What a command prints as JSON, and the most memory it held, in GB."""
    child = subprocess.Popen([*NORIA, *arguments, "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"`noria {' '.join(arguments)}` ended with {os.waitstatus_to_exitcode(status)}.")
    return json.loads(out), usage.ru_maxrss / (1 << 20)


def one(method: str, files: dict[str, Path], minutes: float, seed: int, out: Path) -> dict[str, float]:
    settings = METHODS[method] | ({**SETTINGS, "seed": seed} if method in TRAINED else {})
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    sides = ["--train", str(files["train"]), "--eval", str(files["dev"])]
    made, memory = noria("tune", "--task", "tools", *sides, "--out", str(out), "--minutes", str(minutes), *given)
    found, _ = noria("evaluate", "--task", "tools", "--model", str(out), "--data", str(files["test"]))
    return {**found["metrics"], "n": found["n"], "minutes": made["train_seconds"] / 60, "gigabytes": memory}


def figures_of(method: str, runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The figures of a method from its runs, one a seed: means, and the spread of what is judged."""
    figures = {f"{method}_{key}": statistics.fmean(run[key] for run in runs) for key in runs[0]}
    if len(runs) < 2:
        return figures
    judged = [key for key in runs[0] if key not in NOT_JUDGED]
    return figures | {f"{method}_{key}_spread": max(run[key] for run in runs) - min(run[key] for run in runs) for key in judged}


def command_of(options: argparse.Namespace, figures: Mapping[str, float]) -> str:
    """The one command that makes these figures, in however many parts they were made."""
    names = [name for name in METHODS if f"{name}_minutes" in figures]
    command = ["python", "benchmarks/sgd_methods.py", "--data", str(options.data), "--minutes", f"{options.minutes:g}"]
    return shlex.join([*command, *(["--only", *names] if len(names) < len(METHODS) else []), "--seeds", str(options.seeds)])


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--data", type=Path, required=True, help="folder with train_sample.jsonl and train_schema.json")
    made.add_argument("--minutes", type=float, default=8.0, help="for each method")
    made.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    made.add_argument("--seeds", type=int, default=1, help="of the methods that train")
    return made


def main() -> None:
    options = parser().parse_args()
    train, held_out = Services(options.data.resolve()).split()
    figures = earlier(RESULTS_DIR / "sgd_methods.json", partial(command_of, options), COMMIT)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        rows = {
            "train": train[NUM_DEV:],
            "dev": [held_out_decisions(row) for row in train[:NUM_DEV]],
            "test": [held_out_decisions(r) for r in held_out],
        }
        files = {side: work / f"{side}.jsonl" for side in rows}
        for side, path in files.items():
            write_rows(path, rows[side])
        for method in options.only:
            seeds = range(options.seeds if method in TRAINED else 1)
            runs = [one(method, files, options.minutes, seed, work / f"{method}-{seed}") for seed in seeds]
            figures |= figures_of(method, runs)
            print_figures(figures)
            write_results("sgd_methods", figures, command_of(options, figures))


if __name__ == "__main__":
    main()
