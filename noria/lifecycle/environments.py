"""The environment of a project: `environment.py` in its folder, with a function `environment(project_root)`."""

import importlib.util
import sys
from hashlib import sha256

from noria.config import Project
from noria.errors import ConfigError, NoriaError
from noria.schema import Environment

FILE_NAME = "environment.py"


def has_environment(project: Project) -> bool:
    return (project.root / FILE_NAME).is_file()


def load_environment(project: Project) -> Environment:
    """Load the project's environment. Raises ConfigError naming file and fault."""
    path = project.root / FILE_NAME
    if not path.is_file():
        raise ConfigError(f"'{project.root}' has no `{FILE_NAME}`. Write one with `environment(project_root)`, or take the template front-desk.")
    name = f"noria_project_environment_{sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        made = module.environment(project.root)
    except NoriaError:  # it says itself what to do: a field of noria.toml
        sys.modules.pop(name, None)
        raise
    except Exception as error:
        sys.modules.pop(name, None)
        raise ConfigError(f"'{path}' cannot be used: {type(error).__name__}: {error}. It must define `environment(project_root)`.") from error
    if not isinstance(getattr(made, "name", None), str) or not all(callable(getattr(made, verb, None)) for verb in ("goals", "start")):
        raise ConfigError(f"'{path}': `environment(project_root)` returned {made!r:.80}, which has no `name`, `goals` and `start`.")
    return made
