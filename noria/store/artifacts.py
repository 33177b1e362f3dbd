"""Artifacts: folders `<root>/<kind>/<hash>/` whose `manifest.json` is written last.

The hash addresses what was asked for (kind, inputs, configuration, seed), so the same request again finds the folder and does nothing. A folder
without a manifest is unfinished: a killed build leaves it, and the next one goes on in it. One process at a time builds an artifact.
"""

import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from filelock import FileLock, Timeout
from pydantic import ValidationError

from noria.errors import ArtifactError, DataError
from noria.schema import ArtifactKind, Clock, Manifest, SystemClock, canonical_json
from noria.store.files import disk_errors, file_hash, sync, sync_dir, write_file
from noria.store.machine import hardware, versions

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A finished artifact: its folder and what the manifest says."""

    path: Path
    manifest: Manifest

    @property
    def hash(self) -> str:
        return self.manifest.hash


class ArtifactStore:
    """The artifacts below one folder."""

    def __init__(self, root: Path, clock: Clock | None = None) -> None:
        self.root = root
        self._clock = clock or SystemClock()

    @staticmethod
    def address(kind: ArtifactKind, inputs: Mapping[str, str], config: Mapping[str, Any], seed: int) -> str:
        """The hash under which this request is kept."""
        if kind not in get_args(ArtifactKind):
            raise DataError(f"No artifact is of the kind {kind!r}; allowed: {', '.join(get_args(ArtifactKind))}.")
        try:
            text = canonical_json({"kind": kind, "inputs": dict(inputs), "config": dict(config), "seed": seed})
        except (TypeError, ValueError) as error:
            raise DataError(f"The configuration of an artifact must be JSON: {error}.") from error
        return sha256(text.encode()).hexdigest()

    def build(
        self,
        kind: ArtifactKind,
        inputs: Mapping[str, str],
        config: Mapping[str, Any],
        seed: int,
        make: Callable[[Path], Mapping[str, Any]],
        wait_seconds: float = 0.0,
    ) -> Artifact:
        """The artifact of this request, made by `make(folder)` if it is not there yet.

        Args:
            make: Fills the folder and returns the metrics. After a kill it is called again on the folder as it was left, so it looks for what is
                already done. Names that begin with a dot (checkpoints to resume from, scratch) are removed at the end and not part of the artifact.
            wait_seconds: How long to wait for another process that builds the same artifact.

        Raises:
            ArtifactError: another process is still building it.
        """
        address = self.address(kind, inputs, config, seed)
        folder = self.root / kind / address
        if (folder / MANIFEST).exists():
            return _read(folder)
        with self._locked(folder, wait_seconds):
            if (folder / MANIFEST).exists():
                return _read(folder)
            began = time.monotonic()
            with disk_errors(folder):
                folder.mkdir(exist_ok=True)
            with disk_errors(folder, only_full=True):
                metrics = make(folder)
            _remove_scratch(folder)
            manifest = Manifest(
                hash=address,
                kind=kind,
                inputs=dict(inputs),
                config=json.loads(canonical_json(dict(config))),
                seed=seed,
                versions=versions(),
                hardware=hardware(),
                metrics=dict(metrics),
                files=_synced_files(folder),
                seconds=round(time.monotonic() - began, 3),
                created_at=self._clock.now(),
            )
            with disk_errors(folder):
                sync_dir(folder.parent)
            write_file(folder / MANIFEST, [json.dumps(manifest.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"])
        return Artifact(path=folder, manifest=manifest)

    def get(self, address: str) -> Artifact:
        """The finished artifact of this hash, or of a hash that begins so (8 characters or more). Raises ArtifactError."""
        wanted = [f for f in self._folders() if f.name == address or (len(address) >= 8 and f.name.startswith(address))]
        if len(wanted) > 1:
            raise ArtifactError(f"{len(wanted)} artifacts begin with {address!r}. Give more of the hash.")
        if not wanted:
            raise ArtifactError(f"No artifact {address!r} in '{self.root}'. Run the command that made it again.")
        return _read(wanted[0])

    def verify(self, address: str) -> Artifact:
        """Compare every file with the hash it had when it was made. Raises ArtifactError naming the file."""
        artifact = self.get(address)
        listed = artifact.manifest.files
        for name, expected in listed.items():
            path = artifact.path / name
            if not path.is_file():
                raise ArtifactError(f"'{path}' is missing from the artifact. {_again(artifact.path)}")
            if file_hash(path) != expected:
                raise ArtifactError(f"'{path}' is not what was written: its hash differs from the manifest. {_again(artifact.path)}")
        added = sorted(set(_file_names(artifact.path)) - set(listed))
        if added:
            raise ArtifactError(f"'{artifact.path / added[0]}' was put into a finished artifact. Remove it.")
        return artifact

    def _folders(self) -> list[Path]:
        return sorted(f for f in self.root.glob("*/*") if f.is_dir() and f.parent.name in get_args(ArtifactKind))

    @contextmanager
    def _locked(self, folder: Path, wait_seconds: float) -> Generator[None]:
        """Hold the artifact's lock; the operating system frees it when the process dies."""
        owner = folder.with_name(f"{folder.name}.owner")
        with disk_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"), timeout=wait_seconds, is_singleton=False)
        with disk_errors(folder):
            try:
                lock.acquire()
            except Timeout as error:
                raise ArtifactError(
                    f"Artifact {folder.parent.name}/{folder.name[:12]} is being built by {_owner(owner)}. "
                    "Wait until it is done, or stop that process; running this again then goes on."
                ) from error
        try:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            write_file(owner, [json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now})])
            yield
            owner.unlink(missing_ok=True)
        finally:
            lock.release()

    def list(self, kind: ArtifactKind | None = None) -> list[Artifact]:
        """Every finished artifact (of a kind), oldest first."""
        found = [_read(f) for f in self._folders() if (kind is None or f.parent.name == kind) and (f / MANIFEST).exists()]
        return sorted(found, key=lambda artifact: (artifact.manifest.created_at, artifact.hash))


def _read(folder: Path) -> Artifact:
    path = folder / MANIFEST
    try:
        with disk_errors(path):
            manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArtifactError(f"'{path}' is corrupt. {_again(folder)}") from error
    except Exception as error:
        if not path.exists():
            raise ArtifactError(f"'{folder}' is unfinished ({MANIFEST} is missing). Run the command that made it again; it resumes.") from error
        raise
    if manifest.hash != folder.name:
        raise ArtifactError(f"'{path}' belongs to another artifact ({manifest.hash[:12]}). {_again(folder)}")
    return Artifact(path=folder, manifest=manifest)


def _again(folder: Path) -> str:
    return f"Remove '{folder}' and run the command that made it again."


def _owner(path: Path) -> str:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return f"process {told['pid']} on {told['host']} since {told['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _file_names(folder: Path) -> list[str]:
    """Files of an artifact as paths within it; the manifest itself and names that begin with a dot do not count."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(n.as_posix() for n in names if n.as_posix() != MANIFEST and not any(part.startswith(".") for part in n.parts))


def _synced_files(folder: Path) -> dict[str, str]:
    """Hash every file of the artifact after its bytes and its name are on the disk."""
    hashes: dict[str, str] = {}
    for name in _file_names(folder):
        with disk_errors(folder / name), (folder / name).open("rb") as file:
            sync(file)
        hashes[name] = file_hash(folder / name)
    with disk_errors(folder):
        for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            sync_dir(inner)
    return hashes


def _remove_scratch(folder: Path) -> None:
    with disk_errors(folder):
        for path in folder.glob(".*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
