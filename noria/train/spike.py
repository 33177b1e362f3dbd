"""What is a spike: a loss that jumps far above those before it, or a step that is not finite.

In: the losses of a run, one after the other. Out: whether a step must not be taken. What becomes of it then is `noria.train.run`'s.
"""

import math
from collections.abc import Mapping

SPIKE_MEMORY = 0.98
"""Weight of the past in the running mean and variance of the loss: some fifty steps."""
MIN_WATCHED = 50
"""Steps before which nothing is called a spike."""


class SpikeWatch:
    """Running mean and variance of the loss (exponentially weighted), against which a step's loss is held.

    Args:
        deviations: how many standard deviations above the mean a loss is a spike; None: none ever is.
    """

    def __init__(self, deviations: float | None) -> None:
        self.deviations = deviations
        self.mean = self.variance = 0.0
        self.num_seen = self.num_returns = 0

    def is_spike(self, loss: float, norm: float = 0.0) -> bool:
        """Whether a step of this loss, whose gradients have this norm, must not be taken."""
        if self.deviations is None:
            return False
        if not math.isfinite(loss) or not math.isfinite(norm):
            return True
        return self.num_seen >= MIN_WATCHED and loss > self.mean + self.deviations * math.sqrt(self.variance)

    def add(self, loss: float) -> None:
        share = max(1 - SPIKE_MEMORY, 1 / (self.num_seen + 1))
        apart = loss - self.mean
        self.mean += share * apart
        self.variance = (1 - share) * (self.variance + share * apart * apart)
        self.num_seen += 1

    def state(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in _WATCHED}

    def restore(self, state: Mapping[str, float]) -> None:
        for name in _WATCHED:
            setattr(self, name, state[name])


_WATCHED = ("mean", "variance", "num_seen", "num_returns")
