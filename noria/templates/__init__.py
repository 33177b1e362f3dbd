"""Project templates: one folder a template beside this file; `make_project` copies one into a new project folder.

A template folder holds what a project holds (`noria.toml`, `tools.py`, `prompts/`, `knowledge/`, `evals/`, ...). Nothing is filled in but the
project's name. Templates are copied as they are, never imported from here.
"""

import re
import shutil
import tempfile
from pathlib import Path

from noria.config import FILE_NAME, allowed_name
from noria.errors import ConfigError, StoreError

_NAME_LINE = re.compile(r'^name = ".*"$', re.MULTILINE)
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".noria", "*.pyc")


def names() -> list[str]:
    """The templates there are."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob(f"*/{FILE_NAME}"))


def make_project(template: str, dir: Path, name: str | None = None) -> Path:  # noqa: A002  (the word of the command line)
    """Make the project folder `dir` from a template; returns its absolute path. Either all of it is there afterwards or nothing.

    Args:
        template: One of `names()`.
        dir: A folder that does not exist yet, or is empty.
        name: What the agent is called in requests; by default made from the folder's name.

    Raises:
        ConfigError: unknown template, a folder that is not empty, a name that cannot stand in a request.
        StoreError: the disk refuses.
    """
    if template not in names():
        raise ConfigError(f"There is no template {template!r}; allowed: {', '.join(names())}.")
    target = dir.expanduser().resolve()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigError(f"'{target}' is not empty. Name a new or empty folder: `noria new DIR --template {template}`.")
    name = name if name is not None else _name_from(target, template)
    try:
        allowed_name(name)
    except ValueError as error:
        raise ConfigError(f"Project name {name!r} is not allowed: {error}.") from error
    try:
        _copy(Path(__file__).parent / template, target, name)
    except OSError as error:
        raise StoreError(
            f"Could not write '{target}': {error.strerror or error}. Nothing was left behind; free the disk or name another folder."
        ) from error
    return target


def _name_from(target: Path, template: str) -> str:
    slug = re.sub(r"[^\w.-]+", "-", target.name.lower()).strip("-._")[:64]
    return slug or template


def _copy(source: Path, target: Path, name: str) -> None:
    """Build beside the target, then move: a rename where the folder is new, file by file (`noria.toml` last) into one that is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".noria-new-", dir=target.parent) as scratch:
        built = Path(scratch) / "project"
        shutil.copytree(source, built, ignore=_LEFT_OUT)
        file = built / FILE_NAME
        file.write_text(_NAME_LINE.sub(f'name = "{name}"', file.read_text(encoding="utf-8"), count=1), encoding="utf-8")
        if not target.exists():
            built.rename(target)
            return
        moved: list[Path] = []
        try:
            for item in sorted(built.iterdir(), key=lambda path: path.name == FILE_NAME):
                moved.append(target / item.name)
                item.rename(moved[-1])
        except OSError:
            for path in moved:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            raise
