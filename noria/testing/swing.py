"""A run of one weight that learns the number 1, whose every value is known: after a step it is off by `1 - 2 rate` times as much as before."""

from collections.abc import Callable
from pathlib import Path

import torch

from noria.train.objective import Loss
from noria.train.processes import Processes
from noria.train.run import MicroBatch, Run, RunConfig, Step


class _Halves:
    """Each step is two micro-batches, so that two processes have one each."""

    def step(self, _number: int, /) -> Step:
        def loss(model: torch.nn.Linear, share: float) -> Loss:
            return Loss(total=(model(torch.ones(1, 1)) - 1).square().sum() * share)

        return Step(micro_batches=[MicroBatch(loss, 0.5), MicroBatch(loss, 0.5)], weight=1.0, num_tokens=1)


def swing_run(
    folder: Path,
    rate: float,
    num_best: int,
    checkpoint_every: int = 1,
    on_validation: Callable[[int], None] | None = None,
    processes: Processes | None = None,
) -> Run:
    """A run that begins at 0 and is validated after each of ten steps.

    Args:
        on_validation: told how many validations have begun.
    """
    folder.mkdir(exist_ok=True)
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    count = 0

    def validate() -> dict[str, float]:
        nonlocal count
        count += 1
        if on_validation:
            on_validation(count)
        return {"loss": (model.weight.item() - 1) ** 2}

    config = RunConfig(
        rate=lambda *_: 1.0, max_grad_norm=1e9, checkpoint_every=checkpoint_every, validate=validate, num_validations=10, num_best=num_best
    )
    return Run(model, model, _Halves(), [torch.optim.SGD(model.parameters(), lr=rate)], config, folder, processes)
