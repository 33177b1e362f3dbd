"""Pre-training runs that are killed at random moments beside one that is not: are the weights bit for bit the same?

    python benchmarks/pretrain_kills.py [--kills 100] [--seed 0]

All learn the same small corpus for the same steps with one thread. The first is left alone; the others are started again and again and killed
(SIGKILL) after a random time, wherever they are: reading, learning the tokenizer, writing shards, a step, a checkpoint. Writes
benchmarks/results/pretrain_kills.json.
"""

import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from _harness import print_figures, write_results

SETTINGS = {
    "vocab_size": 600, "width": 64, "layers": 2, "heads": 2, "context": 64, "batch_tokens": 512, "threads": 1, "num_validations": 60,
    "validation_tokens": 4096,
}  # fmt: skip


def command(corpus: Path, out: Path, steps: int) -> list[str]:
    given = [f"--set={name}={value}" for name, value in {**SETTINGS, "steps": steps}.items()]
    return [sys.executable, "-m", "noria.cli.main", "pretrain", "--corpus", str(corpus), "--out", str(out), *given]


def write_corpus(path: Path) -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(400)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(1500):
            file.write(json.dumps({"text": " ".join(rng.choices(words, k=rng.randint(20, 120)))}) + "\n")


def weights(folder: Path) -> str:
    return sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        corpus = work / "corpus.jsonl"
        write_corpus(corpus)
        begin = time.monotonic()
        subprocess.run(
            command(corpus, work / "whole", options.steps), env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        whole = time.monotonic() - begin
        kills, same, same_curve, runs = 0, True, True, 0
        while kills < options.kills:
            cut = work / f"cut-{runs}"
            runs += 1
            while not (cut / "pretrain.json").is_file():
                process = subprocess.Popen(command(corpus, cut, options.steps), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    # Starting takes some seconds in which nothing is written; the kills are spread over what comes after, too.
                    if process.wait(timeout=rng.uniform(2, 14) if kills < options.kills else None):
                        sys.exit(f"After {kills} kills the same command failed: {shlex.join(command(corpus, cut, options.steps))}")
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    kills += 1
            same &= weights(work / "whole") == weights(cut)
            same_curve &= (work / "whole" / "curve.jsonl").read_text() == (cut / "curve.jsonl").read_text()
        seconds = time.monotonic() - begin - whole
    figures = {
        "kills": kills, "runs": runs, "bit_identical": same, "same_curve": same_curve, "seconds_uninterrupted": whole, "seconds_killed": seconds,
        "steps": options.steps,
    }  # fmt: skip
    print_figures(figures)
    write_results("pretrain_kills", figures)
    sys.exit(0 if same and same_curve else 1)


if __name__ == "__main__":
    main()
