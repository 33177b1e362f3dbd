"""Does pre-training an encoder pay? One hour of masked words and next sentences on documentation, then ten examples a class of Banking77.

    python benchmarks/encoder.py --banking DIR [--minutes 60] [--seeds 3]

The text is that of Debian's documentation packages (`PACKAGES`), which `apt-get download` fetches, dpkg-deb unpacks and `noria data build` cleans.
The encoder is pre-trained once and tuned on Banking77 (train.csv, test.csv) from its weights and from random ones such as its pre-training began
with, in the same plain loop, learning rates chosen for each on held-out training examples, over seeds that draw the ten examples a class. Writes
benchmarks/results/encoder.json.
"""

import argparse
import csv
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from _harness import noria, print_figures, write_results
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from noria.model import new_model
from noria.model.precision import products_in

PACKAGES = (
    "apache2-doc", "debian-faq", "debian-handbook", "debian-policy", "debian-reference-en", "developers-reference", "gimp-help-en", "git-doc",
    "installation-guide-amd64", "libreoffice-help-en-us", "maint-guide", "postgresql-doc-15", "python3.11-doc", "rust-doc", "sqlite3-doc",
)  # fmt: skip
SETTINGS = ("--set", 'languages=["en"]', "--set", 'rules=["gopher"]')
"""C4's and FineWeb's rules are for pages of the web: they drop every manual that shows code."""
SHOTS, EPOCHS, BATCH, MAX_TOKENS = 10, 40, 32, 64
RATES = (3e-5, 1e-4, 3e-4, 1e-3)


def corpus(work: Path) -> tuple[Path, dict[str, Any]]:
    """What `noria data build` keeps of the packages' pages, and its account."""
    packages, unpacked = work / "packages", work / "unpacked"
    packages.mkdir(exist_ok=True)
    missing: list[str] = []
    for package in PACKAGES:
        if next(packages.glob(f"{package}_*.deb"), None) is None:
            done = subprocess.run(["apt-get", "download", package], cwd=packages, capture_output=True, text=True, check=False)
            missing += [] if done.returncode == 0 else [f"{package}: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"]
    if missing:
        lacking = "\n".join(missing)
        sys.exit(f"{len(missing)} of {len(PACKAGES)} packages could not be fetched; `apt-get update` may help.\n{lacking}")
    for package in packages.glob("*.deb"):
        folder = unpacked / package.stem
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    out = work / "corpus"
    return out, noria("data", "build", str(unpacked), "--out", str(out), *SETTINGS)


def banking(path: Path) -> list[tuple[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def few(rows: list[tuple[str, str]], seed: int, shots: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """`shots` rows of each class to learn from, and as many others to choose a rate by."""
    by_class: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        by_class[row[1]].append(row)
    rng = random.Random(seed)
    train: list[tuple[str, str]] = []
    choose: list[tuple[str, str]] = []
    for name in sorted(by_class):
        drawn = rng.sample(by_class[name], min(2 * shots, len(by_class[name])))
        train += drawn[:shots]
        choose += drawn[shots:]
    return train, choose


class Tuner:
    def __init__(self, folder: Path, labels: list[str]) -> None:
        self.folder, self.labels = folder, labels
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def inputs(self, texts: list[str]) -> dict[str, torch.Tensor]:
        return dict(self.tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"))

    def tuned(self, rows: list[tuple[str, str]], rate: float, seed: int, pretrained: bool) -> Any:
        torch.manual_seed(seed)
        model: Any = AutoModelForSequenceClassification.from_pretrained(self.folder, num_labels=len(self.labels))
        if not pretrained:
            begun: Any = new_model(AutoConfig.from_pretrained(self.folder), seed)
            model.base_model.load_state_dict(begun.base_model.state_dict())
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
        steps, step = EPOCHS * (len(rows) // BATCH), 0
        rng = random.Random(seed)
        model.train()
        for _ in range(EPOCHS):
            order = rng.sample(rows, len(rows))
            for at in range(0, len(rows) - BATCH + 1, BATCH):
                part = order[at : at + BATCH]
                for group in optimizer.param_groups:
                    group["lr"] = rate * min(1, (step + 1) / (0.1 * steps)) * (1 - step / steps)
                with products_in(None, model.device):
                    logits = model(**self.inputs([text for text, _ in part])).logits.float()
                functional.cross_entropy(logits, torch.tensor([self.labels.index(label) for _, label in part])).backward()
                optimizer.step()
                optimizer.zero_grad()
                step += 1
        return model.eval()

    @torch.no_grad()
    def accuracy(self, model: Any, rows: list[tuple[str, str]]) -> float:
        right = 0
        for at in range(0, len(rows), 256):
            part = rows[at : at + 256]
            with products_in(None, model.device):
                found = model(**self.inputs([text for text, _ in part])).logits.argmax(-1)
            right += sum(self.labels[i] == label for i, (_, label) in zip(found.tolist(), part, strict=True))
        return right / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--banking", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="keep packages, corpus and encoder here, and go on with what is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = options.out or Path(name)
        work.mkdir(parents=True, exist_ok=True)
        text, cleaned = corpus(work)
        given = ("--objective", "mlm-nsp", "--minutes", str(options.minutes))
        found = noria("pretrain", "--corpus", str(text), "--out", str(work / "encoder"), *given)
        figures: dict[str, float] = {n: cleaned["contents"]["total"][n] for n in ("documents", "bytes")}
        figures |= {name: found[name] for name in ("num_parameters", "tokens", "train_seconds", "mlm_accuracy", "sentence_accuracy")}
        train, test = banking(options.banking / "train.csv"), banking(options.banking / "test.csv")
        tuner = Tuner(work / "encoder", sorted({label for _, label in train}))
        for kind in ("pretrained", "random"):
            chosen, held_out = few(train, 1000, SHOTS)
            rate = max(RATES, key=lambda r, kind=kind: tuner.accuracy(tuner.tuned(chosen, r, 1000, kind == "pretrained"), held_out))
            figures[f"{kind}_rate"] = rate
            scores = [
                tuner.accuracy(tuner.tuned(few(train, seed, SHOTS)[0], rate, seed, kind == "pretrained"), test) for seed in range(options.seeds)
            ]
            figures |= {f"{kind}_accuracy_seed_{seed}": score for seed, score in enumerate(scores)}
            figures[f"{kind}_accuracy"] = statistics.mean(scores)
        figures["gain_points"] = 100 * (figures["pretrained_accuracy"] - figures["random_accuracy"])
    print_figures(figures)
    write_results("encoder", figures)


if __name__ == "__main__":
    main()
