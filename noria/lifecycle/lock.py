"""One improvement of a project at a time: a lock that the system releases when its holder dies."""

import os
from collections.abc import Generator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from noria.config import Project
from noria.errors import StoreError


@contextmanager
def project_lock(project: Project, verb: str) -> Generator[None]:
    """Hold the project's lock for `verb`. Raises StoreError, naming who holds it, if another process does."""
    lock = FileLock(project.state_dir / f"{verb}.lock", timeout=0, is_singleton=False)
    holder = project.state_dir / f"{verb}.pid"
    try:
        lock.acquire()
    except Timeout as error:
        who = holder.read_text(encoding="utf-8") if holder.exists() else "unknown"
        raise StoreError(
            f"Another `noria {verb}` is at work in '{project.root}' (process {who}). Wait for it, or stop it and run this again."
        ) from error
    try:
        holder.write_text(str(os.getpid()), encoding="utf-8")
        yield
        holder.unlink(missing_ok=True)
    finally:
        lock.release()
