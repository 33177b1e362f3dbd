"""The folder that a long command makes: claimed by what was asked for, and gone on with for nothing else.

In: the folder, the scratch folder inside it, the settings and the files of a request. Out: nothing, or one sentence saying what is different.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from noria.errors import ConfigError
from noria.store.files import disk_errors, write_file

_NAME = "request.json"


def sizes(files: Iterable[Path]) -> list[list[str | int]]:
    """Where the files stand and how large they are: what tells that they are the same as before."""
    return [[str(path.resolve()), path.stat().st_size] for path in files]


def claim(out: Path, scratch: Path, request: Mapping[str, Any], command: str) -> None:
    """Write down in `scratch` what `out` is for, or find that it was begun for the same.

    Args:
        request: `settings` and `files` (from `sizes`), as JSON.
        command: named where the folder holds what it did not make.

    Raises:
        ConfigError: it was begun for something else, or holds what is not ours.
        StoreError: the disk refuses.
    """
    if (scratch / _NAME).is_file():
        refuse_other(out, claimed(scratch), request)
        return
    with disk_errors(out):
        if out.exists() and any(found != scratch for found in out.iterdir()):
            raise ConfigError(f"'{out}' is not empty and was not begun by `{command}`. Give a new folder with `--out`.")
        scratch.mkdir(parents=True, exist_ok=True)
    write_file(scratch / _NAME, [json.dumps(request, indent=2) + "\n"])


def claimed(scratch: Path) -> dict[str, Any]:
    """The request that a folder was claimed with."""
    return json.loads((scratch / _NAME).read_text(encoding="utf-8"))


def refuse_other(out: Path, before: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    """Raise ConfigError where `before`, what `out` was begun or made with, is not what is asked for now; without `files` by settings alone."""
    then, now = before["settings"], request["settings"]
    changed = [f"`{name}` was {then.get(name)!r:.100} and is {value!r:.100}" for name, value in now.items() if then.get(name) != value]
    if changed:
        raise ConfigError(f"'{out}' was begun otherwise: {'; '.join(changed)}. Go on with the same, or give another `--out`.")
    if before.get("files") != request.get("files"):
        raise ConfigError(f"'{out}' was begun with other files, or they have changed since. Give another `--out`, or delete it.")
