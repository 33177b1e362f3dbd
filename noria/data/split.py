"""Training and evaluation apart: by group (conversation, user), so that nobody stands on both sides, and by time if wanted.

The side of a group is decided by the hash of its name and the seed alone. It does not change when data are added, so a user who was once in
the evaluation set stays there in every later export.
"""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Side = Literal["train", "evaluation"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing to place. `groups` are names such as `user:42`; items that share one, directly or through others, stay together."""

    key: Hashable
    groups: tuple[str, ...]
    time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where each item went; `dropped` belongs to a group of the evaluation side but lies before the cutoff."""

    sides: Mapping[Hashable, Side]
    dropped: tuple[Hashable, ...] = ()
    cutoff: datetime | None = None

    def keys(self, side: Side) -> list[Hashable]:
        return [key for key, where in self.sides.items() if where == side]


def split_by_group(items: Sequence[Item], evaluation_share: float, seed: int = 0) -> Split:
    """Place whole groups by hash; about `evaluation_share` of the groups are evaluation."""
    names = _components(items)
    return Split(sides={item.key: "evaluation" if _fraction(names[item.key], seed) < evaluation_share else "train" for item in items})


def split_by_time(items: Sequence[Item], evaluation_share: float) -> Split:
    """Train on what came before a cutoff, evaluate on what came after, with nobody on both sides.

    The cutoff leaves about `evaluation_share` of the items after it. A group with an item after it is evaluation, and its earlier items are
    dropped; so every training item is older than every evaluation item. Each item needs a `time`.
    """
    times = sorted(item.time for item in items if item.time is not None)
    if len(times) != len(items):
        raise ValueError("split_by_time needs the time of every item")
    num_before = round(len(times) * (1 - evaluation_share))
    if not items or num_before >= len(times):
        return Split(sides={item.key: "train" for item in items})
    cutoff = times[num_before]
    names = _components(items)
    late = {names[item.key] for item in items if item.time is not None and item.time >= cutoff}
    sides: dict[Hashable, Side] = {}
    dropped: list[Hashable] = []
    for item in items:
        if names[item.key] not in late:
            sides[item.key] = "train"
        elif item.time is not None and item.time >= cutoff:
            sides[item.key] = "evaluation"
        else:
            dropped.append(item.key)
    return Split(sides=sides, dropped=tuple(dropped), cutoff=cutoff)


def _components(items: Iterable[Item]) -> dict[Hashable, str]:
    """The name of each item's component: the smallest name of all groups that hang together."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    members: dict[Hashable, str] = {}
    for item in items:
        if not item.groups:
            raise ValueError(f"item {item.key!r} has no group")
        roots = [root(name) for name in item.groups]
        for other in roots[1:]:
            parent[root(other)] = root(roots[0])
        members[item.key] = item.groups[0]
    named: dict[str, list[str]] = defaultdict(list)
    for name in parent:
        named[root(name)].append(name)
    return {key: min(named[root(group)]) for key, group in members.items()}


def _fraction(name: str, seed: int) -> float:
    """A number in 0..1 that depends on name and seed alone."""
    digest = hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
