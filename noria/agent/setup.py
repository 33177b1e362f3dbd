"""What all turns of an agent share: generator, tools, store, knowledge, settings; with what is made from them once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

from noria.agent.config import AgentConfig, render_prompt
from noria.agent.phrases import Language
from noria.agent.policy import ConfirmingPolicy, Policy
from noria.agent.tools import Toolbox
from noria.errors import ConfigError
from noria.schema import Generator, Message, Passage, Retriever, ToolSpec
from noria.store import Traces

SEARCH = ToolSpec(
    name="search_knowledge",
    description="Look up facts in the documents",
    parameters={
        "type": "object",
        "properties": {"query": {"type": "string", "description": "What to look for, in the user's language."}},
        "required": ["query"],
        "additionalProperties": False,
    },
)
"""The built-in tool over a project's knowledge."""


@dataclass(kw_only=True)
class Setup:
    """The parts an agent works with."""

    generator: Generator
    toolbox: Toolbox
    traces: Traces
    state_dir: Path
    retriever: Retriever | None = None
    config: AgentConfig = field(default_factory=AgentConfig)
    system_prompt: str = ""
    language: Language = "en"
    policy: Policy = field(default_factory=ConfirmingPolicy)
    _stored: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        if self.retriever is not None and self.toolbox.get(SEARCH.name) is not None:
            raise ConfigError(f"`{SEARCH.name}` is the name of the built-in tool over `knowledge/`. Rename the project's tool.")

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model may call: the project's tools, then the knowledge search."""
        return (*self.toolbox.specs, *((SEARCH,) if self.retriever is not None else ()))

    @cached_property
    def tools_address(self) -> str:
        return self.traces.put_tools(self.specs)

    def system_message(self, today: date) -> Message:
        return Message(role="system", content=render_prompt(self.system_prompt, today))

    def store(self, messages: Sequence[Message]) -> None:
        """Keep messages that are part of a prompt but not of the conversation (system prompt, shortened results), each once."""
        new = [message for message in messages if message.hash not in self._stored]
        if new:
            self.traces.put_messages(new)
            self._stored.update(message.hash for message in new)

    def render_passages(self, passages: Sequence[Passage]) -> str:
        """Passages as the model reads them, numbered so that it can name its source."""
        if not passages:
            return "Nothing found."
        return "\n".join(f"[{i}] {p.title}: {self._capped(p.text)}" for i, p in enumerate(passages, 1))

    def _capped(self, text: str) -> str:
        plain, limit = " ".join(text.split()), self.config.max_passage_characters
        return plain if len(plain) <= limit else f"{plain[:limit]} [cut: {len(plain) - limit} characters left out]"
