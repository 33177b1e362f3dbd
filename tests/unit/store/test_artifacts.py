"""Content addresses, the manifest written last, resuming after SIGKILL, one builder at a time, verification."""

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from noria.errors import ArtifactError, DataError, StoreError
from noria.store import ArtifactStore

REQUEST: dict[str, Any] = {"kind": "adapter", "inputs": {"data": "abc"}, "config": {"rate": 1e-4, "layers": [1, 2]}, "seed": 1}


def write_weights(folder: Path) -> dict[str, Any]:
    (folder / "sub").mkdir()
    (folder / "weights.bin").write_bytes(b"\x01\x02")
    (folder / "sub" / "notes.txt").write_text("ok")
    (folder / ".checkpoint").write_text("scratch")
    return {"loss": 0.5}


def test_the_same_request_is_made_once(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    calls = []
    first = store.build(**REQUEST, make=lambda folder: (calls.append(1), write_weights(folder))[1])
    again = store.build(**{**REQUEST, "config": {"layers": [1, 2], "rate": 1e-4}}, make=lambda folder: pytest.fail("made twice"))
    assert again == first
    assert calls == [1]
    manifest = first.manifest
    assert first.path == tmp_path / "adapter" / manifest.hash
    assert list(manifest.files) == ["sub/notes.txt", "weights.bin"]
    assert manifest.metrics == {"loss": 0.5}
    assert not (first.path / ".checkpoint").exists()
    assert {"noria", "python"} <= set(manifest.versions)
    assert manifest.hardware["cpus"] >= 1
    assert manifest.hardware["memory_bytes"] > 0
    assert store.get(manifest.hash[:10]) == first == store.verify(manifest.hash)
    assert store.list() == store.list("adapter") == [first]
    assert store.list("model") == []


@pytest.mark.parametrize("change", [{"kind": "model"}, {"inputs": {"data": "abd"}}, {"config": {"rate": 2e-4}}, {"seed": 2}])
def test_each_part_of_the_request_counts(change: dict[str, Any]) -> None:
    assert ArtifactStore.address(**{**REQUEST, **change}) != ArtifactStore.address(**REQUEST)


def test_a_build_that_fails_is_taken_up_in_its_folder(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("1")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        store.build(**REQUEST, make=fail)
    address = ArtifactStore.address(**REQUEST)
    assert store.list() == []
    with pytest.raises(ArtifactError, match="unfinished .manifest.json is missing.. Run the command that made it again; it resumes"):
        store.get(address)
    artifact = store.build(**REQUEST, make=lambda folder: {"found": (folder / "half").read_text()})
    assert artifact.manifest.metrics == {"found": "1"}


def test_a_disk_that_fills_up_is_said(tmp_path: Path) -> None:
    def fill(folder: Path) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="is full; nothing was half-written. Free some space"):
        ArtifactStore(tmp_path).build(**REQUEST, make=fill)


def edit(path: Path) -> None:
    (path / "weights.bin").write_bytes(b"\x01\x03")


def remove(path: Path) -> None:
    (path / "weights.bin").unlink()


def add(path: Path) -> None:
    (path / "weights.bin.bak").write_text("x")


def break_manifest(path: Path) -> None:
    (path / "manifest.json").write_text('{"hash": ')


def swap_manifest(path: Path) -> None:
    told = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**told, "hash": "0" * 64}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (edit, "weights.bin' is not what was written: its hash differs"),
        (remove, "weights.bin' is missing from the artifact. Remove '.*' and run the command"),
        (add, "weights.bin.bak' was put into a finished artifact"),
        (break_manifest, "manifest.json' is corrupt"),
        (swap_manifest, "belongs to another artifact"),
    ],
)
def test_verify_names_the_file(tmp_path: Path, damage: Any, says: str) -> None:
    store = ArtifactStore(tmp_path)
    artifact = store.build(**REQUEST, make=write_weights)
    damage(artifact.path)
    with pytest.raises(ArtifactError, match=says):
        store.verify(artifact.hash)


def test_requests_that_cannot_be_addressed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with pytest.raises(DataError, match="No artifact is of the kind 'cake'; allowed: dataset"):
        store.build(**{**REQUEST, "kind": "cake"}, make=write_weights)
    with pytest.raises(DataError, match="must be JSON"):
        store.build(**{**REQUEST, "config": {"path": tmp_path}}, make=write_weights)
    with pytest.raises(ArtifactError, match="No artifact 'deadbeef'"):
        store.get("deadbeef")


BUILD = """
import os, sys, time
from pathlib import Path
from noria.store import ArtifactStore

def make(folder):
    done = sorted(p.name for p in folder.glob("part*"))
    (folder / f"part{len(done)}").write_text(str(os.getpid()))
    print("building", len(done), flush=True)
    if len(done) < int(sys.argv[2]):
        time.sleep(60)
    with open(sys.argv[3], "a") as log:
        log.write("made\\n")
    time.sleep(0.2)
    return {"parts": len(done) + 1}

artifact = ArtifactStore(Path(sys.argv[1])).build("model", {}, {"size": 1}, 0, make, wait_seconds=float(sys.argv[4]))
print("finished", artifact.manifest.metrics["parts"], flush=True)
"""


def start(root: Path, hangs: int, wait_seconds: float) -> subprocess.Popen[str]:
    """A process that builds; it hangs until `hangs` parts are there."""
    command = [sys.executable, "-c", BUILD, str(root), str(hangs), str(root / "log"), str(wait_seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_killed_builds_resume_and_a_second_builder_is_told(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    address = ArtifactStore.address("model", {}, {"size": 1}, 0)
    for part in range(2):
        process = start(tmp_path, 2, 0)
        assert read_line(process) == f"building {part}"
        if part == 0:
            with pytest.raises(ArtifactError, match=f"Artifact model/{address[:12]} is being built by process {process.pid} on .* since "):
                store.build("model", {}, {"size": 1}, 0, lambda folder: {})
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with pytest.raises(ArtifactError, match="unfinished"):
            store.get(address)
    process = start(tmp_path, 2, 0)
    assert process.communicate(timeout=60)[0].splitlines() == ["building 2", "finished 3"]
    assert sorted(store.verify(address).manifest.files) == ["part0", "part1", "part2"]


def test_two_processes_that_race_build_once(tmp_path: Path) -> None:
    racing = [start(tmp_path, 0, 60) for _ in range(2)]
    said = [process.communicate(timeout=60) for process in racing]
    assert [process.returncode for process in racing] == [0, 0], said
    assert all(out.endswith("finished 1\n") for out, _ in said)
    assert (tmp_path / "log").read_text() == "made\n"


def test_waiting_has_an_end(tmp_path: Path) -> None:
    process = start(tmp_path, 9, 0)
    read_line(process)
    began = time.monotonic()
    with pytest.raises(ArtifactError, match="is being built by process"):
        ArtifactStore(tmp_path).build("model", {}, {"size": 1}, 0, lambda folder: {}, wait_seconds=0.2)
    assert time.monotonic() - began < 10
    process.kill()
    process.communicate()
