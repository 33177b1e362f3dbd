"""The project folder and its `noria.toml`.

A project is found from the working directory upwards. Every section of the file belongs to a configuration class that stands beside its
owner (`[agent]` to `noria.agent.AgentConfig`, ...): `Project.section` checks one, `Project.check_sections` refuses the names nobody owns.
Precedence: command line over project file over default. Environment variables: `NORIA_HOME` (downloads, caches), `NORIA_LOG` (log level),
and those a configuration field names for secrets.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from noria.errors import ConfigError

FILE_NAME = "noria.toml"
MOST_MINUTES = 525_600.0
"""A year: the longest time that can be asked for."""


class Section(BaseModel):
    """Base of every configuration class: frozen, keyword-only, unknown fields refused, each field with a docstring."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


S = TypeVar("S", bound=Section)


_NAME = re.compile(r"[^\W_][\w.-]{0,63}")


def allowed_name(name: str) -> str:
    """The name of a project, which stands before `@r3` and `:raw` in requests. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("use up to 64 letters, digits, '.', '_' and '-', a letter or digit first")
    return name


class ProjectConfig(Section):
    """`[project]`: what the project is called and which language its fixed messages speak."""

    name: Annotated[str, AfterValidator(allowed_name)]
    """Name under which the agent is served (`model` in requests)."""
    description: str = ""
    """One sentence for people."""
    language: Literal["en", "zh"] = "en"
    """Language of the agent's fixed messages when the user's cannot be told: en or zh."""
    database: str | None = None
    """URL of the database, such as `postgresql+psycopg://user@host/name`; unset is an SQLite file in `.noria`."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project folder that has a readable `noria.toml`."""

    root: Path
    settings: Mapping[str, Any]

    @classmethod
    def find(cls, start: Path | None = None) -> Self:
        """Open the project at `start` or the nearest folder above it. Raises ConfigError."""
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / FILE_NAME).is_file():
                return cls.load(folder)
        raise ConfigError(
            f"No `{FILE_NAME}` in '{here}' or above. Run `noria new DIR --template front-desk`, or name a project with `--project DIR`."
        )

    @classmethod
    def load(cls, root: Path) -> Self:
        path = root / FILE_NAME
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except NotADirectoryError as error:
            raise ConfigError(f"'{root}' is a file. Name the project's folder.") from error
        except FileNotFoundError as error:
            raise ConfigError(f"'{root}' is no project: `{FILE_NAME}` is missing. Run `noria new {root} --template front-desk`.") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"'{path}' is not valid TOML: {error}.") from error
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"'{path}' is not UTF-8 text: line {line} holds another encoding. Save the file as UTF-8.") from error
        return cls(root=root.resolve(), settings=settings)

    def section(self, name: str, config: type[S], overrides: Mapping[str, Any] | None = None) -> S:
        """The checked section `name`; `overrides` (the command line) win where they are not None. Raises ConfigError."""
        given = self.settings.get(name, {})
        if not isinstance(given, dict):
            raise ConfigError(f"'{self.root / FILE_NAME}': `{name}` must be a table `[{name}]`, not {given!r:.60}.")
        values = {**given, **{k: v for k, v in (overrides or {}).items() if v is not None}}
        return checked(config, values, f"'{self.root / FILE_NAME}' [{name}]")

    def check_sections(self, known: Iterable[str]) -> None:
        """Refuse a section nobody owns. Raises ConfigError."""
        allowed = sorted({"project", *known})
        unknown = sorted(set(self.settings) - set(allowed))
        if unknown:
            raise ConfigError(f"'{self.root / FILE_NAME}': unknown section `[{unknown[0]}]`; allowed: {', '.join(allowed)}.")

    @property
    def about(self) -> ProjectConfig:
        return self.section("project", ProjectConfig)

    @property
    def state_dir(self) -> Path:
        """`.noria`: database, artifacts, index and logs; made on first use and never edited by hand."""
        path = self.root / ".noria"
        path.mkdir(exist_ok=True)
        return path

    @property
    def database_url(self) -> str:
        """Where conversations, feedback and releases are kept: what `noria.store.Database.open` takes."""
        return self.about.database or f"sqlite:///{self.state_dir / 'noria.db'}"

    @property
    def artifacts_dir(self) -> Path:
        return self.state_dir / "artifacts"


def checked(config: type[S], values: Mapping[str, Any], where: str) -> S:
    """Build a configuration; the first thing wrong becomes one sentence naming place, field, value and what is allowed."""
    try:
        return config(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if not field:  # a rule over several fields
            raise ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(config.model_fields)
            raise ConfigError(f"{where}: unknown field `{field}`; allowed: {allowed}.") from error
        if first["type"] == "missing":
            raise ConfigError(f"{where}: field `{field}` is missing.") from error
        raise ConfigError(f"{where}: field `{field}` is {first['input']!r:.80}: {first['msg'].removeprefix('Value error, ')}.") from error


def home_dir() -> Path:
    """`NORIA_HOME`, else `~/.noria`: where named downloads and caches rest."""
    return Path(os.environ.get("NORIA_HOME") or Path.home() / ".noria")
