"""Noria's training loop on given token ids: useful tokens a second over one pass, and the held-out loss after it; the twin of `trl_sft.py`."""

import argparse
import json
import time
from pathlib import Path

import torch

from noria.model import load_checkpoint
from noria.train import Example, Supervised, TuneConfig, train

parser = argparse.ArgumentParser()
parser.add_argument("--given", type=Path, required=True)
parser.add_argument("--scratch", type=Path, required=True)
parser.add_argument("--method", choices=["full", "lora"], required=True)
arguments = parser.parse_args()

given = json.loads(arguments.given.read_text())


def example(row: dict[str, list[int]]) -> Example:
    weights = tuple(float(label != -100) for label in row["labels"])
    return Example(objective="supervised", sequences=(tuple(row["input_ids"]),), weights=(weights,), prefix=row["prefix"][0])


examples = [example(row) for row in given["train"]]
model = load_checkpoint(Path(given["model"]))
started = time.monotonic()
result = train(model, examples, [Supervised()], TuneConfig(method=arguments.method, epochs=1.0), arguments.scratch)
seconds = time.monotonic() - started
total = count = 0.0
with torch.no_grad():
    for row in given["held_out"]:
        labels = torch.tensor([row["labels"]])
        found = int((labels[:, 1:] != -100).sum())
        total += result.model(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss.item() * found
        count += found
print(json.dumps({"tokens_per_second": result.metrics["tokens"] / seconds, "held_out_loss": total / count}))
