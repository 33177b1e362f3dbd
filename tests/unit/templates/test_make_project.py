import os
from pathlib import Path

import pytest

from noria.config import Project
from noria.errors import ConfigError, StoreError
from noria.templates import make_project, names


def test_front_desk_is_there() -> None:
    assert "front-desk" in names()


def test_a_new_folder_becomes_a_project_with_its_own_name(tmp_path: Path) -> None:
    made = make_project("front-desk", tmp_path / "My Hotel", None)
    assert made == tmp_path / "My Hotel"
    assert Project.load(made).about.name == "my-hotel"
    assert {p.name for p in made.iterdir()} >= {
        "noria.toml",
        "tools.py",
        "environment.py",
        "prompts",
        "knowledge",
        "evals",
        "README.md",
        "README.zh.md",
    }
    assert not list(made.rglob("__pycache__"))
    assert [p.name for p in tmp_path.iterdir()] == ["My Hotel"]


def test_an_empty_folder_stays_the_folder_it_was(tmp_path: Path) -> None:
    inode = tmp_path.stat().st_ino
    made = make_project("front-desk", tmp_path, "desk2")
    assert made.stat().st_ino == inode
    assert Project.load(made).about.name == "desk2"


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"is not empty\. Name a new or empty folder: `noria new DIR --template front-desk`"):
        make_project("front-desk", tmp_path, None)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(ConfigError, match="is not empty"):
        make_project("front-desk", tmp_path / "x", None)


def test_an_unknown_template_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no template 'hotel'; allowed: front-desk"):
        make_project("hotel", tmp_path / "a", None)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("name", ["", "a b", "a@b", "a:raw", "-a", "x" * 65, 'a"b'])
def test_a_name_that_cannot_stand_in_a_request_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not allowed"):
        make_project("front-desk", tmp_path / "a", name)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_when_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "empty"
    target.mkdir()
    rename = Path.rename

    def refuse_toml(self: Path, to: Path) -> Path:
        if self.name == "noria.toml":
            raise OSError(28, os.strerror(28))
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse_toml)
    with pytest.raises(StoreError, match="No space left"):
        make_project("front-desk", target, None)
    assert not list(target.iterdir())
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]
