"""A project made from the front-desk template, and a whole dialogue between guest and whoever answers, without any model."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noria.agent import Toolbox, ToolContext, hints
from noria.config import Project
from noria.knowledge import KnowledgeBase
from noria.lifecycle.environments import load_environment
from noria.schema import Goal, Message, Outcome
from noria.templates import make_project

Decide = Callable[[Any, Sequence[Message]], Message]


@pytest.fixture(scope="session", autouse=True)
def worlds_in_memory() -> Iterator[None]:
    """Hundreds of small databases: where the system has a folder in memory, they do not wait for the disk."""
    before, memory = tempfile.tempdir, Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        tempfile.tempdir = str(memory)
    yield
    tempfile.tempdir = before


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project("front-desk", tmp_path_factory.mktemp("made") / "desk", None)


@pytest.fixture(scope="session")
def environment(project: Path) -> Any:
    return load_environment(Project.load(project))


@pytest.fixture(scope="session")
def toolbox(project: Path) -> Toolbox:
    return Toolbox.load(project / "tools.py")


@pytest.fixture(scope="session")
def knowledge(project: Path, tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    base = KnowledgeBase(tmp_path_factory.mktemp("index") / "knowledge.db", root=project)
    base.add([project / "knowledge"])
    return base


@pytest.fixture(scope="session")
def play(environment: Any, toolbox: Toolbox, knowledge: KnowledgeBase) -> Callable[..., SimpleNamespace]:
    """`play(goal, decide)`: one episode; `decide(episode, transcript)` is the agent's next message."""

    def call(episode: Any, name: str, arguments: dict[str, Any], key: str) -> str:
        if name == "search_knowledge":
            return "\n".join(passage.text[:240] for passage in knowledge.search(str(arguments.get("query", "")), 1))
        context = ToolContext(state_dir=episode.state_dir, idempotency_key=key, today=episode.today, user_id=episode.user_id)
        return toolbox.call(name, arguments, context).content

    def run(goal: Goal, decide: Decide, max_steps: int = 6) -> SimpleNamespace:
        episode = environment.start(goal)
        transcript: list[Message] = []
        try:
            while (text := episode.guest_says(transcript)) is not None:
                transcript.append(Message(role="user", content=text, hints=hints(text, episode.today)))
                for _ in range(max_steps):
                    message = decide(episode, transcript)
                    transcript.append(message)
                    if not message.tool_calls:
                        break
                    for made in message.tool_calls:
                        result = call(episode, made.name, made.arguments, f"step-{len(transcript)}")
                        transcript.append(Message(role="tool", content=result, tool_call_id=made.id))
            outcome: Outcome = episode.outcome()
        finally:
            episode.close()
        return SimpleNamespace(goal=goal, transcript=transcript, outcome=outcome, said=[m for m in transcript if m.role == "user"])

    return run
