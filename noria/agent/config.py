"""`[agent]` of a project: budgets, sampling and the system prompt."""

from datetime import date
from pathlib import Path

from pydantic import Field

from noria.agent.dates_english import WEEKDAY_NAMES
from noria.config import Section
from noria.errors import ConfigError


class AgentConfig(Section):
    """How long an agent may work on one turn, and how its model is asked."""

    prompt: str = "prompts/system.md"
    """File of the system prompt, from the project folder; `{today}` and `{weekday}` in it are filled in."""
    max_steps: int = Field(default=12, ge=1, le=200)
    """Decisions the model may take in one turn."""
    max_tokens: int = Field(default=256, ge=8, le=32768)
    """Tokens of one decision or reply."""
    max_turn_tokens: int = Field(default=2048, ge=8)
    """Tokens the model may generate in one turn, all decisions together."""
    max_seconds: float = Field(default=120.0, gt=0)
    """Seconds after which a turn takes no further decision."""
    max_retries: int = Field(default=3, ge=0, le=20)
    """Refused or broken decisions in one turn before the agent says that it cannot work it out."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0 is greedy: the same conversation gives the same answer."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of probability that sampling keeps."""
    seed: int = Field(default=0, ge=0)
    """Seed of sampling; the number of the decision in its turn is added."""
    hints: bool = True
    """Whether dates and times in a user's message are shown to the model in canonical form, too."""
    num_passages: int = Field(default=3, ge=1, le=50)
    """Passages a knowledge search gives to the model."""
    max_passage_characters: int = Field(default=600, ge=50)
    """Characters of one passage; the rest is left out with a note."""


def load_prompt(root: Path, config: AgentConfig) -> str:
    """The text of the project's system prompt. Raises ConfigError."""
    path = root / config.prompt
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise ConfigError(
            f"The system prompt '{path}' is missing. Write it, or name another file as `prompt` in `[agent]` of `noria.toml`."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The system prompt '{path}' cannot be read as UTF-8 text: {error}.") from error


def render_prompt(template: str, today: date) -> str:
    """The system prompt of a conversation: `{today}` and `{weekday}` filled in; where they are not named, a line says the day."""
    weekday = WEEKDAY_NAMES[today.weekday()]
    if "{today}" in template:
        return template.replace("{today}", today.isoformat()).replace("{weekday}", weekday)
    return f"{template.replace('{weekday}', weekday)}\nToday is {weekday}, {today.isoformat()}.".strip()
