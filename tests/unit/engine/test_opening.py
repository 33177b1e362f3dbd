"""From `[engine]` to an engine, and what is said when it cannot be."""

from pathlib import Path

import pytest

from noria.config import Project
from noria.engine import EngineConfig, RemoteGenerator, open_generator
from noria.errors import ConfigError, ModelError


def project(folder: Path, engine: str, model: str = "") -> tuple[EngineConfig, Path]:
    (folder / "noria.toml").write_text(f'[project]\nname = "p"\n[model]\n{model}\n[engine]\n{engine}\n')
    return Project.load(folder).section("engine", EngineConfig), folder


def test_remote_takes_its_key_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, root = project(tmp_path, 'kind = "remote"\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\napi_key_env = "DESK_KEY"\ncontext_tokens = 4096')
    with pytest.raises(ConfigError, match=r"names 'DESK_KEY', which is not set"):
        open_generator(config, root)
    monkeypatch.setenv("DESK_KEY", "k")
    generator = open_generator(config, root)
    assert isinstance(generator, RemoteGenerator)
    assert (generator.name, generator.context_tokens) == ("m", 4096)
    generator.close()


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ('kind = "remote"', "needs `url` and `model`"),
        ('kind = "vllm"', "`kind` is 'vllm'"),
        ("threads = 0", "`threads` is 0"),
        ("gpu = true", "unknown field `gpu`; allowed: kind, threads"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, engine: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        project(tmp_path, engine)


def test_openvino_wants_what_a_gguf_file_can_say(tmp_path: Path) -> None:
    config, root = project(tmp_path, "", 'base = "weights"')
    from noria.model import load_tokenizer, resolve

    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    load_tokenizer(resolve("smollm2-135m").path).save(tmp_path / "weights")
    with pytest.raises(ModelError, match=r"cannot be written as GGUF, which the openvino engine reads: .* Set `\[engine\] kind`"):
        open_generator(config, root)


def test_every_field_is_described() -> None:
    assert [name for name, field in EngineConfig.model_fields.items() if not field.description] == []
