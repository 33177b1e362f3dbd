"""`[improve]` of `noria.toml`."""

from pydantic import Field

from noria.config import MOST_MINUTES, Section


class ImproveConfig(Section):
    """`[improve]`: how `noria improve` makes a candidate."""

    minutes: float = Field(default=20.0, gt=0, le=MOST_MINUTES)
    """Minutes one improvement may take, its evaluation included, where the command line names none."""
    seed: int = Field(default=0, ge=0)
    """Seed of the split, the training and its order of examples."""
    max_heldout: int = Field(default=300, ge=20)
    """Held-out decisions that both releases are compared on, where the project has no environment."""
    min_train_share: float = Field(default=0.4, gt=0, lt=1)
    """Share of the minutes that training gets at least, however long the evaluation is expected to take."""
