"""One release, ready to answer: its engine, its prompts, the project's tools and its knowledge.

In: the artifacts a release names. Out: a `Serving`. Every file is compared with its hash before it is used, so that a corrupt artifact is
refused with its name instead of being served.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from noria.agent import Agent, AgentConfig, Toolbox, hints, load_prompt
from noria.agent.phrases import Language
from noria.agent.setup import SEARCH
from noria.config import Project
from noria.engine import EngineConfig, open_generator
from noria.errors import ArtifactError, ConfigError
from noria.knowledge import KnowledgeBase
from noria.model import resolve
from noria.schema import Conversation, Generator, Message, Release, ToolSpec, Turn
from noria.serve.freeze import KNOWLEDGE_FILE, SPECS_FILE, TOOLS_FILE, frozen_agent
from noria.store import ArtifactStore, Traces

log = logging.getLogger("noria.serve")
WEIGHTS_FILE = "model.gguf"
WEIGHTS_DIR = "model"
"""In the place of `WEIGHTS_FILE` where the transformers engine reads a Hugging Face folder as it is."""


@dataclass(kw_only=True)
class Serving:
    """A loaded release. `generator` alone answers raw requests, `agent` all others."""

    release: Release
    generator: Generator
    toolbox: Toolbox
    traces: Traces
    state_dir: Path
    config: AgentConfig
    system_prompt: str
    language: str = "en"
    knowledge: KnowledgeBase | None = None

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What the model may call: the project's tools, then the knowledge search."""
        return (*self.toolbox.specs, *((SEARCH,) if self.knowledge is not None else ()))

    def __post_init__(self) -> None:
        self._agent = self._made(self.config)

    def agent(self, sampling: dict[str, Any] | None = None) -> Agent:
        """The release's agent; with `sampling` (fields of `AgentConfig`) one that differs in these for one request."""
        return self._made(self.config.model_copy(update=sampling)) if sampling else self._agent

    def begin(self, conversation: Conversation, messages: Sequence[Message]) -> Turn:
        """Record the messages of a new turn, with the hints the agent would see; its id is the receipt."""
        return self.traces.start_turn(conversation.id, [self._with_hints(message, conversation) for message in messages])

    def close(self) -> None:
        self.generator.close()
        if self.knowledge is not None:
            self.knowledge.close()

    def _with_hints(self, message: Message, conversation: Conversation) -> Message:
        if message.role != "user" or message.hints or not self.config.hints:
            return message
        return message.model_copy(update={"hints": hints(message.content, conversation.today)})

    def _made(self, config: AgentConfig) -> Agent:
        return Agent(
            self.generator,
            self.toolbox,
            self.traces,
            state_dir=self.state_dir,
            retriever=self.knowledge,
            config=config,
            system_prompt=self.system_prompt,
            language=cast(Language, self.language),
        )


def load_release(project: Project, store: ArtifactStore, traces: Traces, release: Release) -> Serving:
    """Load what a release names. Raises ArtifactError, ModelError, DependencyError or ConfigError."""
    prompts = _part(store, release, "prompts")
    config = frozen_agent(project, prompts)
    state_dir = project.state_dir / "state"
    state_dir.mkdir(exist_ok=True)
    return Serving(
        release=release,
        generator=_generator(project, store, release),
        toolbox=_toolbox(project, store, release),
        traces=traces,
        state_dir=state_dir,
        config=config,
        system_prompt=load_prompt(prompts, config),
        language=project.about.language,
        knowledge=_knowledge(store, release),
    )


def _part(store: ArtifactStore, release: Release, part: str) -> Path:
    if part not in release.artifacts:
        raise ArtifactError(f"Release r{release.number} names no `{part}`. Make another release: `noria improve`.")
    return store.verify(release.artifacts[part]).path


def _generator(project: Project, store: ArtifactStore, release: Release) -> Generator:
    """The engine on the release's own weights: an artifact's, or base weights by the name they had when the release was made."""
    engine = release.artifacts.get("engine", "")
    config = project.section("engine", EngineConfig)
    if config.kind == "remote":
        return open_generator(config, project.root)
    weights = _own_weights(_part(store, release, "engine")) if _is_hash(engine) else resolve(engine, project.root).path
    return open_generator(config, project.root, gguf_override=weights)


def _own_weights(folder: Path) -> Path:
    return folder / WEIGHTS_DIR if (folder / WEIGHTS_DIR).is_dir() else folder / WEIGHTS_FILE


def _toolbox(project: Project, store: ArtifactStore, release: Release) -> Toolbox:
    """The project's tools; where they are no longer as the release was made with, the log says which."""
    path = project.root / TOOLS_FILE
    toolbox = Toolbox.load(path) if path.is_file() else Toolbox()
    frozen = json.loads((_part(store, release, "tools") / SPECS_FILE).read_text(encoding="utf-8"))
    before = {spec["name"]: ToolSpec.model_validate(spec) for spec in frozen}
    after = {spec.name: spec for spec in toolbox.specs}
    gone = sorted(set(before) - set(after))
    if gone:
        raise ConfigError(f"'{path}' has no tool `{gone[0]}`, which release r{release.number} was made with. Put it back, or serve another release.")
    changed = sorted(name for name, spec in after.items() if before.get(name) != spec)
    if changed:
        log.warning("release r%d was made with other schemas of these tools: %s", release.number, ", ".join(changed))
    return toolbox


def _knowledge(store: ArtifactStore, release: Release) -> KnowledgeBase | None:
    if "knowledge" not in release.artifacts:
        return None
    artifact = store.verify(release.artifacts["knowledge"])
    if not artifact.manifest.metrics.get("num_documents", 1):
        return None
    return KnowledgeBase(artifact.path / KNOWLEDGE_FILE)


def _is_hash(name: str) -> bool:
    return len(name) == 64 and all(character in "0123456789abcdef" for character in name)
