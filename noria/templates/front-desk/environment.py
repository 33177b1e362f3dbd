"""Simulated guests for this desk: `environment(root)` gives what `noria improve` and `noria demo` let talk to the agent.

A guest has a goal, speaks, reacts, and leaves; the end state of the desk's database says whether the goal was met. How guests speak and what
they want stands in `simulation/`. Training and evaluation share neither phrasings nor room numbers, booking codes and days.
"""

import importlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import date
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Literal

from noria.config import Project
from noria.errors import ConfigError
from noria.schema import Goal, Message, Outcome


class FrontDesk:
    """The environment of the front desk."""

    name = "front-desk"

    def __init__(self, root: Path) -> None:
        self.modules = _load(root)
        self.language = _language(root)
        """What guests speak unless said otherwise: the project's language."""
        self.kinds: list[str] = [kind for kind in self.modules["goals"].KINDS if kind != "question" or (root / "knowledge").is_dir()]
        """What guests may want; questions about the house need pages to look them up in."""

    def goals(
        self, split: Literal["train", "evaluation"], num_goals: int, seed: int, language: str | None = None, kinds: Sequence[str] | None = None
    ) -> list[Goal]:
        """Goals in the usual mix of kinds, or of the `kinds` given; `language` is en or zh, and the project's where it is left out."""
        chosen = self.modules["goals"].mixed_kinds(num_goals, seed, split, list(kinds or self.kinds))
        return [self.modules["goals"].make_goal(kind, split, language or self.language, f"{seed}-{index:04d}") for index, kind in enumerate(chosen)]

    def start(self, goal: Goal) -> "DeskEpisode":
        return DeskEpisode(goal, self.modules)


def _language(root: Path) -> str:
    """`[project] language` of noria.toml."""
    return Project.load(root).about.language


class DeskEpisode:
    """One guest in a world of its own, in a temporary folder that `close` removes."""

    def __init__(self, goal: Goal, modules: Mapping[str, ModuleType]) -> None:
        self.goal = goal
        self.today = date.fromisoformat(goal.spec["today"])
        self.user_id: str = goal.spec["user_id"]
        self.state_dir = Path(tempfile.mkdtemp(prefix="front-desk-"))
        self._guest, self._expert = modules["guest"].Guest(goal), modules["expert"].Expert(goal)
        self._tools, self._world = modules["tools"], modules["world"]
        with closing(self._tools.open_desk(self.state_dir, self.today)) as desk:
            self._world.seed(desk, goal.spec["world"])
            self._wanted = self._world.wanted(self._world.snapshot(desk), goal.spec["changes"])

    def guest_says(self, transcript: Sequence[Message]) -> str | None:
        return self._guest.next(transcript)

    def demonstrate(self, transcript: Sequence[Message]) -> Message:
        return self._expert.next(transcript)

    def outcome(self) -> Outcome:
        with closing(self._tools.open_desk(self.state_dir, self.today)) as desk:
            difference = self._world.difference(self._world.snapshot(desk), self._wanted)
        return Outcome(success=not difference, reason=difference or "the desk is as wanted")

    def close(self) -> None:
        shutil.rmtree(self.state_dir, ignore_errors=True)


def environment(root: Path) -> FrontDesk:
    """The environment of the project folder `root`."""
    return FrontDesk(root.resolve())


def _load(root: Path) -> dict[str, ModuleType]:
    """The project's own modules, freshly read, under names no other project has."""
    prefix = f"desk_{sha256(str(root).encode()).hexdigest()[:12]}"
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        del sys.modules[name]
    _from_file(f"{prefix}_simulation", root / "simulation" / "__init__.py")
    parts = {part: importlib.import_module(f"{prefix}_simulation.{part}") for part in ("speech", "goals", "guest", "expert", "world")}
    return {"tools": _from_file(f"{prefix}_tools", root / "tools.py"), **parts}


def _from_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"'{path}' is no Python file; the environment needs it.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
