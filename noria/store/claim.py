"""The folder that a long command makes: claimed by what was asked for, and gone on with for nothing else.

In: the folder, the scratch folder inside it, the settings and the files of a request. Out: nothing, or one sentence saying what is different.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from noria.errors import ArtifactError, ConfigError
from noria.store.files import disk_errors, file_hash, write_file

_NAME = "request.json"
MOST_HASHED_BYTES = 4 << 30
"""Files that are larger together are known by their sizes alone: a corpus takes minutes to be read."""
MODEL_FILES = ("config.json", "tokenizer.json", "*.safetensors", "*.bin", "*.gguf")
END_BYTES = 1 << 20
"""So much of both ends of a model's file tells it from another of the same size."""


def sizes(files: Iterable[Path]) -> list[list[str | int]]:
    """Where the files stand, how large they are, and the hashes of what they hold: what tells that they are the same as before."""
    paths = [path.resolve() for path in files]
    found: list[list[str | int]] = [[str(path), path.stat().st_size] for path in paths]
    if sum(path.stat().st_size for path in paths) > MOST_HASHED_BYTES:
        return found
    return [[*one, file_hash(path)] for one, path in zip(found, paths, strict=True)]


def is_as_it_was(told: Sequence[str | int]) -> bool:
    """Whether a file is still what `sizes` told of it; of a file whose hash was not told, by its size. Raises StoreError."""
    path = Path(str(told[0]))
    return path.is_file() and _same([told], sizes([path]))


def content_mark(model: Path) -> str:
    """What tells the weights in a folder or file from others that are put in their place. Raises StoreError."""
    digest = hashlib.sha256()
    files = [model] if model.is_file() else sorted({path for pattern in MODEL_FILES for path in model.glob(pattern)})
    for path in files:
        with disk_errors(path), path.open("rb") as file:
            size = path.stat().st_size
            digest.update(f"{path.name} {size} ".encode())
            digest.update(file.read(END_BYTES))
            file.seek(max(0, size - END_BYTES))
            digest.update(file.read(END_BYTES))
    return digest.hexdigest()


def claim(out: Path, scratch: Path, request: Mapping[str, Any], command: str) -> None:
    """Write down in `scratch` what `out` is for, or find that it was begun for the same. Raises as `check_claim`."""
    check_claim(out, scratch, request, command)
    if not is_claimed(scratch):
        with disk_errors(out):
            scratch.mkdir(parents=True, exist_ok=True)
        write_file(_request(scratch), [json.dumps(request, indent=2) + "\n"])


def check_claim(out: Path, scratch: Path, request: Mapping[str, Any], command: str) -> None:
    """Refuse an `out` that cannot be claimed, and write nothing: before what takes long, and what may find that there is nothing to be made.

    Args:
        request: `settings`, `files` (from `sizes`) and perhaps `weights` (from `content_mark`), as JSON.
        command: named where the folder holds what it did not make.

    Raises:
        ConfigError: it was begun for something else, or holds what is not ours.
        ArtifactError: what it was begun for cannot be read.
        StoreError: the disk refuses.
    """
    if is_claimed(scratch):
        refuse_other(out, claimed(scratch), request)
        return
    with disk_errors(out):
        if out.exists() and any(found != scratch for found in out.iterdir()):
            raise ConfigError(f"'{out}' is not empty and was not begun by `{command}`. Give a new folder with `--out`.")


def finished(out: Path, done: str, scratch: Path, request: Mapping[str, Any], *names: str) -> dict[str, Any] | None:
    """What a finished folder tells of itself; None where it is still to be made.

    Args:
        done: name of the file that is written last; it tells `request` and `names`.
        scratch: removed where the folder is finished: a kill may have left it.

    Raises:
        ConfigError: it was made for something else.
        ArtifactError: what it tells cannot be read.
    """
    if not (out / done).is_file():
        return None
    told = read_told(out / done, "request", *names)
    refuse_other(out, told["request"], request)
    shutil.rmtree(scratch, ignore_errors=True)
    return told


def begun(folder: Path) -> bool:
    """Whether a command, whichever, claimed this folder and has not finished it."""
    return any(folder.glob(f".*/{_NAME}"))


def is_claimed(scratch: Path) -> bool:
    return _request(scratch).is_file()


def claim_mark(scratch: Path) -> tuple[int, int]:
    """Tells this claim from one that was made anew after it was released. Raises OSError where there is none."""
    found = _request(scratch).stat()
    return found.st_ino, found.st_mtime_ns


def release_claim(scratch: Path) -> None:
    """Remove `scratch`, and say so first to whoever else works in it."""
    with suppress(OSError):
        _request(scratch).unlink()
    shutil.rmtree(scratch, ignore_errors=True)


def give_up(out: Path, scratch: Path) -> None:
    """Remove a folder in which nothing was made, so that other settings can be tried."""
    release_claim(scratch)
    with suppress(OSError):  # not empty: another worker has just looked for its lock
        out.rmdir()


def claimed(scratch: Path) -> dict[str, Any]:
    """The request that a folder was claimed with; ArtifactError where it cannot be read."""
    return read_told(_request(scratch), "settings", "files")


def _request(scratch: Path) -> Path:
    return scratch / _NAME


def read_told(path: Path, *names: str) -> dict[str, Any]:
    """What a command wrote down about a folder of its own, as JSON.

    Raises:
        ArtifactError: the file is damaged, or of another version: one of `names` is not told.
    """
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"'{path}' cannot be read ({error}). Give another `--out`, or delete the folder.") from error
    if not isinstance(told, dict) or any(name not in told for name in names):
        raise other_version(path)
    return told


def other_version(path: Path) -> ArtifactError:
    """The error about a file or folder that does not hold what this version writes."""
    return ArtifactError(f"'{path}' is damaged, or another version of Noria wrote it. Give another `--out`, or delete the folder.")


def refuse_other(out: Path, before: object, request: Mapping[str, Any]) -> None:
    """Raise ConfigError where `before`, what `out` was begun or made with, is not what is asked for now; without `files` by settings alone.

    Raises ArtifactError where `before` is no request.
    """
    match before:
        case {"settings": {**then}, **rest}:
            now = request["settings"]
        case _:
            raise other_version(out)
    names = dict.fromkeys([*now, *then])
    changed = [f"`{name}` was {then.get(name)!r:.200} and is {now.get(name)!r:.200}" for name in names if then.get(name) != now.get(name)]
    if changed and not any(name in then for name in names if then.get(name) != now.get(name)):
        missing = ", ".join(f"`{name}`" for name in names if name not in then)
        raise ConfigError(f"'{out}' was begun without {missing}, or by another version of Noria. Give another `--out`, or delete the folder.")
    if changed:
        raise ConfigError(f"'{out}' was begun otherwise: {'; '.join(changed)}. Go on with the same, or give another `--out`.")
    if not _same(rest.get("files"), request.get("files")):
        raise ConfigError(f"'{out}' was begun with other files, or they have changed since. Give another `--out`, or delete the folder.")
    then, now = rest.get("weights"), request.get("weights")
    if None not in (then, now) and then != now:
        raise ConfigError(f"The base of '{out}' has changed since it was begun. Give another `--out`, or delete the folder.")


def _same(before: Any, now: Any) -> bool:
    """Whether two lists of `sizes` tell of the same files; earlier versions told no hashes."""
    if before == now:
        return True
    try:
        pairs = list(zip(before, now, strict=True))
        return all(len(then) >= 2 and all(a == b for a, b in zip(then, one, strict=False)) for then, one in pairs)
    except (TypeError, ValueError):  # not as many, or no such lists
        return False
