"""`[feedback]` of `noria.toml`: what becomes training data, from whom, split how, and what is redacted."""

from typing import Literal, Self

from pydantic import Field, model_validator

from noria.config import Section
from noria.data.personal import Entity
from noria.schema.feedback import FeedbackRole


class FeedbackConfig(Section):
    """How feedback is exported."""

    evaluation_share: float = Field(default=0.1, ge=0, le=0.9)
    """Share of the users (by time: of the examples) that is kept for evaluation."""
    split_by: Literal["user", "time"] = "user"
    """user: whole users and conversations by hash, stable from export to export; time: train on the past, evaluate on what came later."""
    split_seed: int = 0
    """Another seed puts other users into the evaluation set."""
    anonymous_users: tuple[str, ...] = ("", "anonymous")
    """User ids that name nobody; such conversations are split one by one."""
    author_roles: tuple[FeedbackRole, ...] = ("operator", "environment", "system")
    """Who may write texts that are trained on (demonstrations, preferences). Adding user lets any user teach the model."""
    max_per_source: int | None = Field(default=50, ge=1)
    """Pieces of each kind taken from one source of role user, so that nobody outweighs the others; none: no limit."""
    merge_replies: bool = True
    """Put corrected replies into the dialogue they belong to, one example a conversation; false: a differing correction is its own example."""
    score_as_thumb: tuple[float, float] | None = None
    """Scores up to the first number are a thumb down, from the second a thumb up; none: scores are not exported."""
    outcomes_as_thumbs: bool = False
    """An outcome's success is a thumb on the answer it came with."""
    implicit_as_thumbs: dict[str, bool] = {}
    """Which implicit signals are thumbs, and which way: `{repeated = false, thanked = true}`."""
    corrections_as_preferences: bool = False
    """A demonstration that differs from what was served is also a preference over it."""
    near_duplicate_similarity: float | None = Field(default=0.8, gt=0, le=1)
    """Evaluation examples this similar (Jaccard of character n-grams) to a training example are removed; none: only equal ones."""
    redact: tuple[Entity, ...] = ("email", "phone", "card", "iban", "ip", "id_number")
    """What is replaced by placeholders such as <EMAIL_1> before anything is written."""
    keep: tuple[str, ...] = ()
    """Public values that are never redacted, such as the house's own phone number; those in system prompts are kept anyway."""
    phone_regions: tuple[str, ...] = ("US", "GB", "CN")
    """Countries (ISO 3166) whose phone numbers are known without their country code."""

    @model_validator(mode="after")
    def _check_scores(self) -> Self:
        if self.score_as_thumb is not None and not 0 <= self.score_as_thumb[0] < self.score_as_thumb[1] <= 1:
            raise ValueError("`score_as_thumb` must be two numbers from 0 to 1, the lower first")
        return self
