"""Killed (SIGKILL) at random points and started again, work ends as if nothing had happened: nothing lost, no side effect twice, same final hash.

Each part of the wheel has a workload file that `Nursery` forks and kills: the chat here; improve and promote beside it in files of their own
(`improve_workload.py`, `promote_workload.py`), with a test that calls `survive` and compares end states.
"""

import importlib.util
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from noria.testing.killing import Nursery

HERE = Path(__file__).parent
SEED = 20260303


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


def survive(nursery: Nursery, arguments: tuple[str, ...], num_kills: int, seconds: float, num_points: int, rng: random.Random) -> int:
    """Kill the work `num_kills` times, half of the times at a fault point and half at a random moment, then let it end.

    Returns:
        How many kills hit it alive.
    """
    num_hit = 0
    for kill in range(num_kills):
        at_point = kill % 2 == 1
        fatal, moment = (rng.randint(1, num_points), None) if at_point else (0, rng.uniform(0, seconds))
        lived = nursery.live(*arguments, fatal, kill_after=moment)
        num_hit += lived is None
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
            num_hit += survive(nursery, (str(world), script), kills_a_world, seconds, 40, rng)
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


def test_a_chat_killed_at_random_points_ends_as_if_it_had_not_been(folder: Path) -> None:
    check_orders(folder, num_kills=10)


def test_a_tool_without_key_is_never_run_twice(folder: Path) -> None:
    check_rings(folder, num_kills=4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_chat_killed_at_200_random_points(folder: Path) -> None:
    check_orders(folder, num_kills=200)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tool_without_key_killed_at_50_random_points(folder: Path) -> None:
    check_rings(folder, num_kills=50)
