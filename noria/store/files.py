"""Files that are there whole or not at all, and their hashes."""

import errno
import hashlib
import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from noria.errors import NoriaError, PathError, StoreError

_WRONG_PATH = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)
"""What the operating system says of a path that was wrongly given; all else is the disk's or the rights' doing."""


def write_file(path: Path, pieces: Iterable[str]) -> None:
    """Write UTF-8 text so that `path` holds, even after a power cut, either all of it or what it held before. Raises StoreError.

    A piece is written as it is made; an error while one is made leaves nothing behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(pieces)
                sync(file)
            temporary.replace(path)
            sync_dir(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink()


def copy_folder(source: Path, to: Path, but: str = "") -> None:
    """Copy what `source` holds into `to`, all but the entry `but`: the one that says that all is there, which comes last. Raises StoreError."""
    with disk_errors(to):
        to.mkdir(parents=True, exist_ok=True)
        for made in (path for path in source.iterdir() if path.name != but):
            shutil.copytree(made, to / made.name, dirs_exist_ok=True) if made.is_dir() else shutil.copyfile(made, to / made.name)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with disk_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(file: IO[str] | IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_dir(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path, only_full: bool = False) -> Generator[None]:
    """Translate what the operating system says of `path` to a StoreError with what to do; `only_full` leaves all but a full disk as it is."""
    try:
        yield
    except NoriaError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"The disk of '{path}' is full; nothing was half-written. Free some space, then do it again.") from error
        if only_full:
            raise
        kind = PathError if error.errno in _WRONG_PATH else StoreError
        raise kind(f"'{path}': {error.strerror or error}. Check that it exists and that you may use it.") from error
