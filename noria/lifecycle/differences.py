"""What differs inside a part of two releases, as people name it: lines of prompts, tools, documents.

In: the artifacts of the part. Out: names that were added, removed or changed, and of prompts the lines. Not covered: weights, and the text of
documents, of which a release holds the index.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from noria.serve.freeze import AGENT_FILE
from noria.store import Artifact


def differences(part: str, before: Artifact | None, after: Artifact | None, labels: tuple[str, str]) -> dict[str, Any]:
    """`added`, `removed` and `changed` names, of prompts also `lines`: of each file a unified diff.

    Args:
        part: one of `READERS`.
        before, after: verified; None where a release has no such part.
        labels: what the releases are called.
    """
    read = READERS[part]
    old, new = ({} if artifact is None else read(artifact) for artifact in (before, after))
    told: dict[str, Any] = {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    }
    if part == "prompts":
        touched = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        told["lines"] = {name: _lines(name, old.get(name, ""), new.get(name, ""), labels) for name in touched}
    return told


def _lines(name: str, old: str, new: str, labels: tuple[str, str]) -> list[str]:
    first, second = (f"{label}/{name}" for label in labels)
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), first, second, lineterm=""))


def _prompts(artifact: Artifact) -> Mapping[str, str]:
    """The agent's settings stand in the configuration."""
    names = [name for name in artifact.manifest.files if name != AGENT_FILE]
    return {name: (artifact.path / name).read_text(encoding="utf-8", errors="replace") for name in names}


def _tools(artifact: Artifact) -> Mapping[str, Any]:
    return {spec["name"]: spec for spec in artifact.manifest.config.get("specs", [])}


def _documents(artifact: Artifact) -> Mapping[str, str]:
    return artifact.manifest.inputs


READERS: dict[str, Callable[[Artifact], Mapping[str, Any]]] = {"prompts": _prompts, "tools": _tools, "knowledge": _documents}
"""The parts that hold what people name."""
