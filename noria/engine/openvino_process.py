"""This side of the OpenVINO process: start it, send requests, hand what it samples to whoever asked, survive its crash.

In: requests as `openvino_worker` wants them. Out: a `Running` for each, from which events are read.
"""

import contextlib
import itertools
import json
import queue
import subprocess
import sys
import threading
from collections import deque
from typing import Any

from noria.errors import DependencyError, ModelError

Event = tuple[list[int], list[float], str | None]
"""Token ids, their log-probabilities, and how the request ended: None while it runs, else stop, length or failed."""


class Running:
    """One request in the engine: what it samples comes out of `get`."""

    def __init__(self, worker: "EngineProcess", request_id: int) -> None:
        self._worker = worker
        self._id = request_id
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()

    def get(self) -> Event:
        event = self.events.get()
        if event is None:
            raise ModelError(f"The engine process ended: {self._worker.last_words()}. The next request starts it again.")
        return event

    def cancel(self) -> None:
        self._worker.cancel(self._id)


class EngineProcess:
    """The engine process and the thread that reads from it; started on first use, and again after a crash."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._running: dict[int, Running] = {}
        self._words: deque[str] = deque(maxlen=5)
        self._closed = False

    def start(self) -> None:
        """Start the process if it does not run, and wait until it has loaded the model. Raises ModelError, DependencyError."""
        with self._lock:
            self._start()

    def add(self, command: dict[str, Any]) -> Running:
        with self._lock:
            self._start()
            request_id = next(self._ids)
            running = Running(self, request_id)
            self._running[request_id] = running
            try:
                self._send({"op": "add", "id": request_id, **command})
            except OSError as error:
                del self._running[request_id]
                raise ModelError(f"The engine process ended: {self.last_words()}. The next request starts it again.") from error
            return running

    def cancel(self, request_id: int) -> None:
        with self._lock:
            if self._running.pop(request_id, None) is not None:
                with contextlib.suppress(OSError):  # then the process is gone, and the work with it
                    self._send({"op": "cancel", "id": request_id})

    def last_words(self) -> str:
        return " / ".join(self._words) or "it said nothing"

    def close(self) -> None:
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()  # the worker ends when its input does
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        if self._closed:
            raise ModelError("The engine is closed. Open it again.")
        if self._process is not None and self._process.poll() is None:
            return
        command = [sys.executable, "-m", "noria.engine.openvino_worker", json.dumps(self._settings)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", errors="replace")
        assert process.stdout is not None
        threading.Thread(target=self._listen, args=(process,), name="noria-engine-log", daemon=True).start()
        first = process.stdout.readline()
        report = json.loads(first) if first else {"error": self.last_words()}
        if "error" in report:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()
            if "No module named 'openvino_genai'" in report["error"]:
                raise DependencyError("The openvino engine needs OpenVINO GenAI: run `make install` in the clone of Noria.")
            raise ModelError(f"OpenVINO cannot load '{self._settings['gguf']}': {report['error']}.")
        self._process = process
        threading.Thread(target=self._read, args=(process,), name="noria-engine", daemon=True).start()

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command, separators=(",", ":")) + "\n")
        self._process.stdin.flush()

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Hand out the events of one process until it ends; then wake whoever still waits for it."""
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                for request_id, token_ids, logprobs, end in json.loads(line)["events"]:
                    running = self._running.get(request_id) if end is None else self._running.pop(request_id, None)
                    if running is not None:
                        running.events.put((token_ids, logprobs, end))
        process.wait()
        with self._lock:
            orphans, self._running = list(self._running.values()), {}
        for running in orphans:
            running.events.put(None)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._words.append(line.strip())
