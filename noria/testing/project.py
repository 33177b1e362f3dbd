"""A small project on disk and a runtime that answers from a script: what tests of serving and of the page begin with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from noria.agent import AgentConfig, Toolbox, load_prompt
from noria.config import Project
from noria.knowledge import KnowledgeBase
from noria.schema import Clock, Generator, Release
from noria.serve import Runtime, Serving
from noria.serve.freeze import KNOWLEDGE_FILE
from noria.testing.scripted import Script, ScriptedGenerator

_TOOLS = '''"""Tools of a small restaurant."""

from datetime import date, time
from typing import Literal

from noria.agent import tool
from noria.errors import ToolFailed


@tool
def find_table(day: date, guests: int, area: Literal["inside", "terrace"] = "inside") -> list[dict[str, object]]:
    """Look for free tables

    Args:
        guests: How many people come.
    """
    return [{"table": "T4", "seats": 4, "area": area}]


@tool(effect="writes")
def book_table(day: date, at: time, guests: int, name: str) -> dict[str, object]:
    """Book a table"""
    if guests > 8:
        raise ToolFailed("Groups of more than eight call the restaurant.")
    return {"booking": "B-1", "day": str(day), "at": str(at), "guests": guests, "name": name}
'''
_FILES = {
    "noria.toml": '[project]\nname = "desk"\ndescription = "The desk of a small restaurant"\n',
    "prompts/system.md": "You are the desk of a restaurant.",
    "tools.py": _TOOLS,
    "knowledge/breakfast.md": "# Breakfast\n\nBreakfast is served from 7:00 to 10:30.\n",
}


def write_small_project(root: Path, settings: str = "") -> Project:
    """Write a project with two tools and one page of knowledge; `settings` is added to its `noria.toml`."""
    for name, text in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if settings:
        (root / "noria.toml").write_text(f"{_FILES['noria.toml']}\n{settings}", encoding="utf-8")
    return Project.load(root)


def scripted_runtime(project: Project, script: Script | Callable[[Release], Generator], *, clock: Clock | None = None, **options: Any) -> Runtime:
    """A runtime whose releases answer from a script: their own parts are real, the engine is not.

    Args:
        script: what `ScriptedGenerator` takes, for all releases together; or a function that makes a release's generator.
        options: of `Runtime.open`; `overrides` are fields of `ServeConfig`.
    """
    shared = ScriptedGenerator(script) if not callable(script) else None

    def load(release: Release) -> Serving:
        config = project.section("agent", AgentConfig)
        prompts = runtime.artifacts.verify(release.artifacts["prompts"]).path
        knowledge = runtime.artifacts.verify(release.artifacts["knowledge"]).path / KNOWLEDGE_FILE
        return Serving(
            release=release,
            generator=shared or script(release),  # type: ignore[operator,arg-type]
            toolbox=Toolbox.load(project.root / "tools.py"),
            traces=runtime.traces,
            state_dir=project.state_dir,
            config=config,
            system_prompt=load_prompt(prompts, config),
            language=project.about.language,
            knowledge=KnowledgeBase(knowledge, project.root),
        )

    runtime = Runtime.open(project, options.pop("overrides", None), load=load, clock=clock, **options)
    return runtime
