"""From configuration to a running generator."""

import os
from collections.abc import Callable
from pathlib import Path

from noria.config import FILE_NAME, Project
from noria.engine.config import EngineConfig, EngineKind
from noria.engine.openvino import OpenVINOGenerator
from noria.engine.remote import RemoteGenerator
from noria.engine.transformers import TransformersGenerator
from noria.errors import ConfigError
from noria.model import BaseModel, ModelConfig, Renderer, check_gguf, load_tokenizer, resolve, served_gguf
from noria.schema import Generator


def open_generator(config: EngineConfig, project_root: Path, gguf_override: Path | None = None) -> Generator:
    """Open the engine a project names, on the project's base model or on `gguf_override` (a release's own weights).

    Raises:
        ConfigError, DependencyError, ModelError: with what to change or install.
    """
    return _OPENERS[config.kind](config, project_root, gguf_override)


def readable_base(project: Project) -> BaseModel:
    """The base model that a project names, if it is there and the project's engine reads it. Raises ConfigError, DependencyError, ModelError."""
    base = resolve(project.section("model", ModelConfig).base, project.root)
    if project.section("engine", EngineConfig).kind == "openvino":
        check_gguf(base)
    return base


def _local(project_root: Path, override: Path | None) -> tuple[BaseModel, Renderer]:
    project = Project.load(project_root) if (project_root / FILE_NAME).is_file() else None
    model = project.section("model", ModelConfig) if project else ModelConfig()
    if override is not None:
        base = BaseModel(name=override.stem, kind="folder" if override.is_dir() else "gguf", path=override)
    else:
        base = resolve(model.base, project_root)
    return base, Renderer(load_tokenizer(base.path), model.rendering)


def _open_openvino(config: EngineConfig, project_root: Path, override: Path | None) -> Generator:
    base, renderer = _local(project_root, override)
    return OpenVINOGenerator(served_gguf(base), config, renderer)


def _open_transformers(config: EngineConfig, project_root: Path, override: Path | None) -> Generator:
    base, renderer = _local(project_root, override)
    return TransformersGenerator(base, config, renderer)


def _open_remote(config: EngineConfig, project_root: Path, override: Path | None) -> Generator:  # noqa: ARG001  # its weights are elsewhere
    key = None
    if config.api_key_env is not None:
        key = os.environ.get(config.api_key_env)
        if not key:
            raise ConfigError(f"`[engine] api_key_env` names {config.api_key_env!r}, which is not set. Set it to the server's key.")
    assert config.url is not None
    assert config.model is not None
    return RemoteGenerator(
        config.url,
        config.model,
        key,
        context_tokens=config.context_tokens,
        timeout_seconds=config.timeout_seconds,
        max_retries=config.max_retries,
        max_concurrent=config.max_concurrent,
    )


_OPENERS: dict[EngineKind, Callable[[EngineConfig, Path, Path | None], Generator]] = {
    "openvino": _open_openvino,
    "transformers": _open_transformers,
    "remote": _open_remote,
}
