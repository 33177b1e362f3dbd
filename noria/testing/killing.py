"""Killing work for true (SIGKILL) and letting it go on, again and again: for tests that say what a kill must not break.

A workload is a Python file that ends with `serve(main)`, where `main(*arguments)` does its work and, called again after a kill, goes on with it.
`Nursery(path)` imports the file once and forks a process for each life, so that a life costs milliseconds, not an interpreter's start:

    with Nursery(Path("chat_workload.py")) as nursery:
        seconds = nursery.live("plain")          # undisturbed, to its end
        killed = nursery.live("dying", kill_after=0.2)

A workload kills itself at exact places with `FaultPoints`. POSIX only.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine
from sqlalchemy.event import listen

from noria.errors import NoriaError


class WorkloadError(NoriaError):
    """A workload ended with an error of its own; the message has its traceback."""


class Nursery:
    """A process that has loaded a workload and forks a child for each life."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def live(self, *arguments: Any, kill_after: float | None = None) -> float | None:
        """Run the workload once; kill it after so many seconds.

        Returns:
            Seconds it took to its own end, or None when it was killed.

        Raises:
            WorkloadError: it failed.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        pid, started = int(self._line()), time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)  # the nursery has not reaped it yet: a child that has ended stays until told so
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        status = int(self._line())
        if status == -signal.SIGKILL:
            return None
        if status:
            raise WorkloadError(f"The workload failed in {arguments!r}; its traceback is on stderr.")
        return time.monotonic() - started

    def close(self) -> None:
        """End the nursery; no child is left."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkloadError("The workload's file cannot be loaded, or its nursery died; its traceback is on stderr.")
        return line


def serve(main: Callable[..., None]) -> None:
    """The nursery's side: for each line of arguments fork a child that runs `main`, say its pid, and on the next line its end."""
    for line in sys.stdin:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _run(main, json.loads(line))
        print(pid, flush=True)  # noqa: T201  (the protocol)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)  # noqa: T201  (the protocol)


def _run(main: Callable[..., None], arguments: list[Any]) -> None:
    try:
        main(*arguments)
    except BaseException:  # noqa: BLE001  (a child process must not return into its parent's loop)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class FaultPoints:
    """Kills its own process at the `fatal`-th point that is passed (0 never), or at the first whose place has that text; `delay` seconds later.

    Points are where a workload calls `passed`, and whatever `watch_files` and `watch_database` make one.
    """

    def __init__(self, fatal: int | str = 0, delay: float = 0.0) -> None:
        self.fatal = fatal
        self.delay = delay
        self.num_passed = 0
        self._lock = threading.Lock()

    def passed(self, place: str = "") -> None:
        """One point: between two things that a kill could part."""
        with self._lock:
            self.num_passed += 1
            if self.num_passed != self.fatal and not (isinstance(self.fatal, str) and self.fatal in place):
                return
        if self.delay == 0:
            _kill_self()
        # The thread that passed goes on meanwhile, into the middle of what follows; with the usual interval it would keep the interpreter too long.
        sys.setswitchinterval(1e-5)
        threading.Thread(target=lambda: (time.sleep(self.delay), _kill_self()), daemon=True).start()

    def watch_files(self, folder: Path) -> None:
        """Whenever Python opens a file below `folder` to write, or makes, renames or removes something there, a point is passed just before."""
        below = f"{folder}{os.sep}"

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _CHANGES and str(arguments[0]).startswith(below) and (event != "open" or arguments[2] & _WRITING):
                self.passed(f"{event} {arguments[0]}")

        sys.addaudithook(hook)

    def watch_database(self, path: Path) -> None:
        """Before each statement to the SQLite file `path`, and before each commit, a point is passed."""

        def passed(connection: Connection, *details: object) -> None:
            if connection.engine.url.database == str(path):
                self.passed(str(details[1]) if details else "COMMIT")

        for event in ("before_cursor_execute", "commit"):
            listen(Engine, event, passed)


_CHANGES = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"})
"""Audit events of Python (PEP 578) whose first argument is a path that changes."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
