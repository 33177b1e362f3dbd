"""Noria's training loop on given token ids: useful tokens a second, memory, and the held-out loss after one pass; the twin of the rivals."""

from pathlib import Path

import sft_given

from noria.model import load_checkpoint
from noria.train import Example, Supervised, TuneConfig, train

arguments = sft_given.parser().parse_args()
given = sft_given.read(arguments.given)


def example(row: dict[str, list[int]]) -> Example:
    weights = tuple(float(label != -100) for label in row["labels"])
    return Example(objective="supervised", sequences=(tuple(row["input_ids"]),), weights=(weights,), prefix=row["prefix"][0])


examples = [example(row) for row in given["train"]]
model = load_checkpoint(Path(given["model"]))
clock = sft_given.Clock()
config = TuneConfig(method=arguments.method, epochs=1.0, compile=True)  # as in every run of two minutes or more
result = train(model, examples, [Supervised()], config, arguments.scratch, lambda progress: clock.step(progress.tokens))
gigabytes = sft_given.peak_gigabytes()
sft_given.tell(clock, gigabytes, sft_given.held_out_loss(result.model, given["held_out"]))
