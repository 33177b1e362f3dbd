"""Killed (SIGKILL) at random points and started again, work ends as if nothing had happened: nothing lost, no side effect twice, same final hash.

Each part of the wheel has a workload file beside this one that `Nursery` forks and kills: `chat_workload.py`, `promote_workload.py`,
`improve_workload.py`. A workload tells its end state without what may differ (random ids, times), and what must hold at every moment (`check`).
"""

import importlib.util
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from noria.testing.killing import Nursery

HERE = Path(__file__).parent
SEED = 20260303
MAX_DELAY = 0.003
"""Seconds after a fault point in which a kill still meets what the point stands before."""
TRAINING = "/.checkpoint-"
"""When the first checkpoint is about to be written."""
PROMOTED = "/.noria/improve.json"
"""When an improvement has done what the gate said and is about to remove its run file."""
TRANSCRIPT = "/transcripts.jsonl"
"""When a guest has left and the transcript is about to be kept, then the result."""


def load(name: str) -> ModuleType:
    """A workload's module, for its functions that read the end state."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


chat = load("chat_workload")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where worlds stand: in memory if possible, for a kill (unlike a power cut) asks nothing of the disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="noria-kill-") as made:
        yield Path(made)


@dataclass(frozen=True, kw_only=True)
class Life:
    """The work as it goes undisturbed: how long it takes, and how many fault points it passes."""

    seconds: float
    num_points: int


def survive(
    nursery: Nursery, arguments: tuple[str, ...], num_kills: int, life: Life, rng: random.Random, check: Callable[[], None] = lambda: None
) -> int:
    """Kill the work `num_kills` times (at a random moment, at a fault point, shortly after one), `check` what it left, then let it end.

    Returns:
        How many kills hit it alive.
    """
    num_hit = 0
    for kill in range(num_kills):
        fatal = rng.randint(1, life.num_points) if kill % 3 else 0
        delay = rng.uniform(0, MAX_DELAY) if kill % 3 == 2 else 0.0
        lived = nursery.live(*arguments, fatal, delay, kill_after=None if fatal else rng.uniform(0, life.seconds))
        num_hit += lived is None
        check()
        if lived is not None:
            break
    nursery.live(*arguments)
    return num_hit


def kill_chats(folder: Path, script: str, num_kills: int, kills_a_world: int) -> tuple[list[Path], Path, int]:
    """Worlds whose chats were killed `num_kills` times in all, and one that was left alone."""
    rng = random.Random(SEED)
    worlds: list[Path] = []
    alone = folder / "alone"
    alone.mkdir()
    with Nursery(HERE / "chat_workload.py") as nursery:
        seconds = nursery.live(str(alone), script)
        assert seconds is not None
        num_hit = 0
        while num_hit < num_kills and len(worlds) < num_kills * 2:
            world = folder / f"world{len(worlds)}"
            world.mkdir()
            worlds.append(world)
            # A life dies early enough to leave something to do: it takes several to get through the chat.
            num_hit += survive(nursery, (str(world), script), kills_a_world, Life(seconds=seconds, num_points=40), rng)
    return worlds, alone, num_hit


def check_orders(folder: Path, num_kills: int) -> None:
    worlds, alone, num_hit = kill_chats(folder, "orders", num_kills, kills_a_world=5)
    assert num_hit >= num_kills
    expected = chat.end_state(alone)
    assert expected["orders"] == ["tea", "cake", "soup", "tea", "soup", "cake"]
    for world in worlds:
        assert chat.end_state(world) == expected
        assert chat.end_hash(world) == chat.end_hash(alone)


def check_rings(folder: Path, num_kills: int) -> None:
    """A tool that knows no key is run at most once a turn; every turn has an answer."""
    worlds, alone, num_hit = kill_chats(folder, "rings", num_kills, kills_a_world=2)
    assert num_hit >= num_kills
    assert chat.end_state(alone)["orders"] == ["ring", "ring", "tea", "ring"]
    for world in worlds:
        state = chat.end_state(world)
        assert state["orders"].count("ring") <= 3
        assert [turn[0] for turn in state["turns"]] == ["done"] * 3
        assert all(turn[1] for turn in state["turns"])


class Copies:
    """Copies of one prepared world, so that ids are the same in all: one that is left alone, and those that are killed."""

    def __init__(self, nursery: Nursery, workload: ModuleType, folder: Path) -> None:
        self.nursery = nursery
        self.workload = workload
        self.folder = folder
        self.rng = random.Random(SEED)
        self.worlds: list[Path] = []
        (folder / "prepared").mkdir()
        nursery.live(str(folder / "prepared"), "prepare")
        self.alone = self._copied("alone")
        seconds = nursery.live(str(self.alone), "run")
        assert seconds is not None
        self.life = Life(seconds=seconds, num_points=int((self.alone / "points").read_text()))

    def kill(self, num_kills: int, kills_a_world: int) -> None:
        """Kill at `num_kills` random points, at most so many of them in one world."""
        num_hit = 0
        while num_hit < num_kills:
            world = self.world()
            arguments, wanted = (str(world), "run"), min(kills_a_world, num_kills - num_hit)
            check = partial(self.workload.check, world)
            num_hit += survive(self.nursery, arguments, wanted, self.life, self.rng, check)
            assert len(self.worlds) < 2 * num_kills + 10, "most lives end before they are killed"

    def kill_at(self, *places: tuple[str, float]) -> None:
        """Kill the lives of one world, one after another, at a place each, or so many seconds after it."""
        world = self.world()
        for place, delay in places:
            assert self.nursery.live(str(world), "run", place, delay) is None
            self.workload.check(world)
        self.nursery.live(str(world), "run")

    def world(self) -> Path:
        self.worlds.append(self._copied(f"world{len(self.worlds)}"))
        return self.worlds[-1]

    def compare(self) -> None:
        """Every world ended as the one that was left alone."""
        expected = self.workload.end_state(self.alone)
        for world in self.worlds:
            assert self.workload.end_state(world) == expected
            assert self.workload.end_hash(world) == self.workload.end_hash(self.alone)

    def _copied(self, name: str) -> Path:
        return shutil.copytree(self.folder / "prepared", self.folder / name)


@contextmanager
def copies_of(folder: Path, name: str) -> Iterator[Copies]:
    """Copies of the world of a workload."""
    with Nursery(HERE / f"{name}.py") as nursery:
        yield Copies(nursery, load(name), folder)


def check_promotions(folder: Path, num_kills: int) -> None:
    with copies_of(folder, "promote_workload") as copies:
        copies.kill(num_kills, kills_a_world=5)
        state = copies.workload.end_state(copies.alone)
        assert [number for number, _, to_state, _ in state["moves"] if to_state == "live"] == copies.workload.LIVE
        copies.compare()


def check_improvements(folder: Path, num_kills: int, transcript_delays: Iterable[float] = ()) -> None:
    with copies_of(folder, "improve_workload") as copies:
        copies.kill(num_kills, kills_a_world=4)
        copies.kill_at((TRAINING, 0.1), (PROMOTED, 0.0))
        for delay in transcript_delays:
            copies.kill_at((TRANSCRIPT, delay))
        state = copies.workload.end_state(copies.alone)
        assert [(release["number"], release["state"]) for release in state["releases"]] == [(1, "retired"), (2, "live")]
        assert (state["unfinished"], state["run_file"]) == ([], False)
        copies.compare()


def test_a_chat_killed_at_random_points_ends_as_if_it_had_not_been(folder: Path) -> None:
    check_orders(folder, num_kills=10)


def test_a_tool_without_key_is_never_run_twice(folder: Path) -> None:
    check_rings(folder, num_kills=4)


def test_promotions_killed_at_random_points_end_as_if_they_had_not_been(folder: Path) -> None:
    check_promotions(folder, num_kills=15)


def test_an_improvement_killed_at_random_points_ends_as_if_it_had_not_been(folder: Path) -> None:
    check_improvements(folder, num_kills=3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_chat_killed_at_200_random_points(folder: Path) -> None:
    check_orders(folder, num_kills=200)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tool_without_key_killed_at_50_random_points(folder: Path) -> None:
    check_rings(folder, num_kills=50)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_promotions_killed_at_200_random_points(folder: Path) -> None:
    check_promotions(folder, num_kills=200)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_improvement_killed_at_60_random_points(folder: Path) -> None:
    check_improvements(folder, num_kills=60, transcript_delays=[0.0001 * k for k in range(10)])
