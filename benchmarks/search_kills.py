"""A search for settings that is killed beside one that is not, and the settings it finds beside those of plain tuning.

    python benchmarks/search_kills.py --data ../shared/data [--trials 20] [--kills 5] [--epochs 5] [--seed 0]

Ten rows of each class of Banking77 are learnt from and 1,000 other training rows choose; the number of passes is fixed, so that no clock decides
what a trial finds. The same search runs twice: left alone, and killed (SIGKILL) at random moments and begun again. Are the trials the same, their
settings and scores, and the weights of the best one bit for bit? Then the best trial and plain tuning are compared on the official test rows, which
nothing looked at before: McNemar's exact test. Writes benchmarks/results/search_kills.json.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from _harness import NORIA, ROOT, noria, print_figures, write_results
from tasks import banking77_10, read_csv

NUM_CHOOSING = 1000


def write_sides(data: Path, work: Path, seed: int) -> dict[str, Path]:
    learnt, _, test = banking77_10(data, seed)
    taken = {row["text"] for row in learnt}
    others = [row for row in read_csv(data / "banking77/train.csv") if row["text"] not in taken]
    sides = {"train": learnt, "dev": random.Random(seed).sample(others, NUM_CHOOSING), "test": test}
    files = {side: work / f"{side}.jsonl" for side in sides}
    for side, rows in sides.items():
        files[side].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return files


def killed(command: list[str], seconds: float, kills: int, rng: random.Random) -> None:
    """Run the command to its end, killed `kills` times, each after 0.3 to 1 of the `kills`th part of `seconds`, what it takes undisturbed."""
    for number in range(kills):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            code = process.wait(rng.uniform(0.3, 1.0) * seconds / kills)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        else:
            raise SystemExit(f"The search ended with {code} before kill {number + 1} of {kills}.")
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def trials(folder: Path) -> list[dict[str, Any]]:
    """What the trials were and found; their seconds differ."""
    return [
        {name: value for name, value in trial.items() if name != "seconds"} for trial in json.loads((folder / "search.json").read_text())["trials"]
    ]


def weights(folder: Path) -> str:
    return sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        files = write_sides(options.data.resolve(), work, options.seed)
        tune = ["tune", "--task", "classify", "--train", str(files["train"]), "--eval", str(files["dev"])]
        tune += ["--set", f"epochs={options.epochs}", "--set", f"seed={options.seed}"]
        search = [*NORIA, *tune, "--search", str(options.trials)]
        begin = time.monotonic()
        subprocess.run([*search, "--out", str(work / "whole")], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - begin
        killed([*search, "--out", str(work / "cut")], seconds, options.kills, random.Random(options.seed))
        whole, cut = trials(work / "whole"), trials(work / "cut")
        plain = noria(*tune, "--out", str(work / "plain"))
        models = "--model", str(work / "whole"), "--against", str(work / "plain")
        found = noria("evaluate", "--task", "classify", *models, "--data", str(files["test"]))
        figures = {
            "trials": len(whole),
            "ended_early": sum(trial["state"] == "pruned" for trial in whole),
            "kills": options.kills,
            "same_trials": whole == cut,
            "same_best_weights": weights(work / "whole") == weights(work / "cut"),
            "search_minutes": seconds / 60,
            "dev_default": plain["accuracy"],
            "dev_best": max(trial["score"] for trial in whole if trial["state"] == "complete"),
            "test_default": found["metrics_against"]["accuracy"],
            "test_best": found["metrics"]["accuracy"],
            "effect": found["effect"],
            "effect_low": found["interval"][0],
            "effect_high": found["interval"][1],
            "p": found["p"],
        }
    print_figures(figures)
    write_results("search_kills", figures)
    sys.exit(0 if figures["same_trials"] and figures["same_best_weights"] else 1)


if __name__ == "__main__":
    main()
