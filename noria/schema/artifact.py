"""The manifest of an artifact: what it is, what it was made from, how, and how it measured."""

from datetime import datetime
from typing import Any, Literal

from noria.schema.messages import Record

ArtifactKind = Literal["dataset", "tokenizer", "corpus", "model", "adapter", "engine", "index", "evaluation", "release"]


class Manifest(Record):
    """Written last into the folder; a folder without it is unfinished. `hash` addresses kind, inputs, config and seed."""

    hash: str
    kind: ArtifactKind
    inputs: dict[str, str]
    """Name to hash, of artifacts and files."""
    config: dict[str, Any]
    seed: int
    versions: dict[str, str]
    hardware: dict[str, Any]
    metrics: dict[str, Any] = {}
    files: dict[str, str]
    """Path in the folder to SHA-256."""
    seconds: float
    created_at: datetime
