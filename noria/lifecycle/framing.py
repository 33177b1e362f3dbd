"""What the agent adds to a dialogue before the model sees it, for dialogues that come without: rows to learn from, items to be judged on.

In: messages and tools as a file has them. Out: the same as the agent would have asked. A dialogue that brings a system message of its own is taken
as it stands. Training and judging use this one function, so that a candidate is asked what it learnt.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Self, TypeVar

from noria.agent import hints, load_prompt
from noria.agent.config import render_prompt
from noria.agent.setup import SEARCH
from noria.data import ChatExample, PreferenceExample, ThumbsExample
from noria.evaluate.suites import day_of
from noria.lifecycle.releases import Records
from noria.schema import Message, ToolSpec, canonical_json
from noria.serve import Serving, freeze
from noria.serve.freeze import SPECS_FILE, frozen_agent

E = TypeVar("E", ChatExample, ThumbsExample, PreferenceExample)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The system prompt before `{today}` is filled in, the tools offered, and whether dates are shown in canonical form."""

    system_prompt: str
    specs: tuple[ToolSpec, ...]
    hints: bool

    @classmethod
    def of_release(cls, serving: Serving) -> Self:
        return cls(system_prompt=serving.system_prompt, specs=serving.specs, hints=serving.config.hints)

    @classmethod
    def of_folder(cls, records: Records) -> Self:
        """As the next release will have it."""
        parts = freeze(records.project, records.artifacts)
        prompts, tools, knowledge = (records.artifacts.get(parts[name]) for name in ("prompts", "tools", "knowledge"))
        config = frozen_agent(records.project, prompts.path)
        specs = [ToolSpec.model_validate(spec) for spec in json.loads((tools.path / SPECS_FILE).read_text(encoding="utf-8"))]
        search = (SEARCH,) if knowledge.manifest.metrics.get("num_documents") else ()
        return cls(system_prompt=load_prompt(prompts.path, config), specs=(*specs, *search), hints=config.hints)

    @property
    def address(self) -> str:
        """A hash of what is added."""
        told = {"prompt": self.system_prompt, "tools": [spec.model_dump(mode="json") for spec in self.specs], "hints": self.hints}
        return sha256(canonical_json(told).encode()).hexdigest()

    def messages(self, given: Sequence[Message], today: date) -> tuple[Message, ...]:
        if given[0].role == "system":
            return tuple(given)
        shown = [m.model_copy(update={"hints": hints(m.content, today)}) if self.hints and m.role == "user" and not m.hints else m for m in given]
        return (Message(role="system", content=render_prompt(self.system_prompt, today)), *shown)

    def example(self, row: E) -> E:
        """A row to learn from, framed, on the day that its `metadata.today` names."""
        today, tools = day_of(row), row.tools or self.specs
        if isinstance(row, ChatExample):
            messages = self.messages(row.messages, today)
            train = (*[False] * (len(messages) - len(row.messages)), *row.train)
            return row.model_copy(update={"messages": messages, "train": train, "tools": tools})
        return row.model_copy(update={"prompt": self.messages(row.prompt, today), "tools": tools})
