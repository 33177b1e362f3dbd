"""Does pre-training an encoder pay? One hour of masked words and next sentences on documentation, then ten examples a class of Banking77.

    python benchmarks/encoder.py --banking DIR [--minutes 60] [--seeds 3]

The text is that of Debian's documentation packages (`PACKAGES`), which `apt-get download` fetches and dpkg-deb unpacks into a temporary folder. The
encoder is pre-trained once and tuned on Banking77 (train.csv, test.csv) from its weights and from random ones, with the same plain loop,
learning rates chosen for each on held-out training examples, over seeds that draw the ten examples a class. Writes benchmarks/results/encoder.json.
"""

import argparse
import csv
import gzip
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from _harness import noria, print_figures, write_results
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

PACKAGES = (
    "apache2-doc", "debian-faq", "debian-handbook", "debian-policy", "debian-reference-en", "developers-reference", "gimp-help-en", "git-doc",
    "installation-guide-amd64", "libreoffice-help-en-us", "maint-guide", "postgresql-doc-15", "python3.11-doc", "rust-doc", "sqlite3-doc",
)  # fmt: skip
SHOTS, EPOCHS, BATCH, MAX_TOKENS = 10, 40, 32, 64
RATES = (3e-5, 1e-4, 3e-4, 1e-3)


class Text(HTMLParser):
    """The text of a page; blocks end in a new line, and what is not read is left out."""

    BLOCKS = frozenset({"p", "div", "li", "h1", "h2", "h3", "h4", "tr", "br", "dt", "dd", "title"})
    UNREAD = frozenset({"script", "style", "pre", "nav"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.unread = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        self.unread += tag in self.UNREAD
        self.parts += ["\n"] if tag in self.BLOCKS else []

    def handle_endtag(self, tag: str) -> None:
        self.unread -= tag in self.UNREAD and self.unread > 0
        self.parts += ["\n"] if tag in self.BLOCKS else []

    def handle_data(self, data: str) -> None:
        self.parts += [] if self.unread else [data]


def corpus(folder: Path) -> tuple[Path, int]:
    """Pages and texts of the packages as one JSONL file; also how many bytes."""
    missing: list[str] = []
    for package in PACKAGES:
        done = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False)
        missing += [] if done.returncode == 0 else [f"{package}: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}"]
    if missing:
        lacking = "\n".join(missing)
        sys.exit(f"{len(missing)} of {len(PACKAGES)} packages could not be fetched; `apt-get update` may help.\n{lacking}")
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "unpacked" / package.stem)], check=True)
    out, size, seen = folder / "corpus.jsonl", 0, set[str]()
    with out.open("w", encoding="utf-8") as file:
        for path in sorted((folder / "unpacked").rglob("*")):
            if not path.is_file() or path.is_symlink():
                continue
            name = path.name.removesuffix(".gz").removesuffix(".en")
            if not name.endswith((".html", ".htm", ".txt", ".rst", ".md")):
                continue
            raw = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
            text = raw.decode("utf-8", "replace")
            if name.endswith((".html", ".htm")):
                parser = Text()
                parser.feed(text)
                text = "".join(parser.parts)
            text = re.sub(r"\s*\n\s*", "\n", re.sub(r"[ \t]+", " ", text)).strip()
            if len(text) < 500 or text in seen or not english(text):
                continue
            seen.add(text)
            size += len(text.encode())
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return out, size


def english(text: str) -> bool:
    """Whether it reads as English: manuals come in many languages."""
    words = text.lower().split()
    return sum(word in ("the", "of", "to", "and", "is", "a", "in") for word in words) > 0.1 * len(words)


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
        if pretrained:
            model: Any = AutoModelForSequenceClassification.from_pretrained(self.folder, num_labels=len(self.labels))
        else:
            model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(self.folder, num_labels=len(self.labels)))
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
                logits = model(**self.inputs([text for text, _ in part])).logits
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
            found = model(**self.inputs([text for text, _ in part])).logits.argmax(-1)
            right += sum(self.labels[i] == label for i, (_, label) in zip(found.tolist(), part, strict=True))
        return right / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--banking", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="keep the corpus and the encoder here, and take what is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = options.out or Path(name)
        work.mkdir(parents=True, exist_ok=True)
        text = work / "corpus.jsonl"
        size = text.stat().st_size if text.is_file() else corpus(work)[1]
        found = noria(
            "pretrain", "--corpus", str(text), "--out", str(work / "encoder"), "--objective", "mlm-nsp", "--minutes", str(options.minutes)
        )  # fmt: skip
        figures: dict[str, float] = {"corpus_bytes": size}
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
