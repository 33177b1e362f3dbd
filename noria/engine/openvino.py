"""Generation with OpenVINO GenAI: continuous batching over a GGUF file, all requests sharing cached prefixes.

In: requests; prompts are rendered here and passed as token ids, the engine's own chat template is never used. Out: deltas and generations
with token ids and log-probabilities. The engine runs in a process of its own (`openvino_worker`); this side never computes.

Greedy answers do not depend on what else is in the batch (keys and values are kept in fp32; tested). Sampled answers do, a little: sums come
out differently in the eighth digit, and among 49,000 tokens that is enough to draw a neighbour. So a request with both a temperature and a
`seed` goes to a second engine process that answers one request at a time and gives the same tokens always; it is started on first use.
"""

import contextlib
import itertools
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from noria.engine.answer import Answer, generation_of, grammar_of, prompt_of
from noria.engine.config import EngineConfig
from noria.errors import DependencyError, ModelError
from noria.model import Renderer, load_tokenizer
from noria.model.gguf_file import read_metadata
from noria.schema import Delta, Generation, GenerationRequest, Message, ToolSpec

_Event = tuple[list[int], list[float], str | None]


class OpenVINOGenerator:
    """A `Generator` over a GGUF file.

    Args:
        gguf_path: the model.
        config: limits; defaults are for a two-core machine.
        renderer: how messages become tokens; None takes what the file's chat template suggests.
    """

    def __init__(self, gguf_path: Path, config: EngineConfig | None = None, renderer: Renderer | None = None) -> None:
        self._config = config or EngineConfig()
        self._path = gguf_path
        self._renderer = renderer or Renderer(load_tokenizer(gguf_path))
        metadata = read_metadata(gguf_path)
        architecture = metadata["general.architecture"].value
        trained_for = int(metadata[f"{architecture}.context_length"].value)
        self._context_tokens = min(self._config.context_tokens or trained_for, trained_for)
        self._batch = _Worker(self._settings(exact=False))
        self._exact: _Worker | None = None
        self._lock = threading.Lock()
        self._batch.start()

    @property
    def name(self) -> str:
        return self._path.stem

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def count_tokens(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> int:
        return len(self._renderer.prompt(messages, tools))

    def stream(self, request: GenerationRequest) -> Iterator[Delta | Generation]:
        prompt = prompt_of(request, self._renderer, self._context_tokens)
        return self._stream(request, prompt, grammar_of(request, self._renderer))

    def generate(self, request: GenerationRequest) -> Generation:
        return generation_of(self.stream(request))

    def close(self) -> None:
        """End the engine's processes; running requests fail. May be called twice."""
        with self._lock:
            for worker in (self._batch, self._exact):
                if worker is not None:
                    worker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stream(self, request: GenerationRequest, prompt: list[int], grammar: str | None) -> Iterator[Delta | Generation]:
        answer = Answer(request, self._renderer, prompt)
        worker = self._worker_for(request)
        running = worker.add(
            {
                "prompt": prompt,
                "max_tokens": request.max_tokens,
                "temperature": request.temperature,
                "top_p": request.top_p,
                "seed": secrets.randbits(32) if request.seed is None else request.seed,
                "grammar": grammar,
            }
        )
        end: str | None = None
        try:
            while end is None:
                token_ids, logprobs, end = running.get()
                if end == "failed":
                    raise ModelError(f"The engine gave up on a request of {len(prompt)} tokens: {worker.last_words()}. Raise `[engine] cache_gb`.")
                yield from answer.push(token_ids, logprobs)
                if answer.stopped:
                    break
        finally:
            if end is None:
                running.cancel()
        yield from answer.finish()
        yield answer.generation("length" if end == "length" and not answer.stopped else "stop")

    def _worker_for(self, request: GenerationRequest) -> "_Worker":
        if request.temperature == 0 or request.seed is None:
            return self._batch
        with self._lock:
            if self._exact is None:
                self._exact = _Worker(self._settings(exact=True))
            return self._exact

    def _settings(self, exact: bool) -> dict[str, Any]:
        config = self._config
        threads = 1 if exact else config.threads or os.cpu_count() or 1
        properties = {"INFERENCE_NUM_THREADS": threads, "KV_CACHE_PRECISION": config.cache_precision} if config.device == "CPU" else {}
        return {
            "gguf": str(self._path),
            "device": config.device,
            "properties": properties,
            "cache_gb": config.cache_gb,
            "max_concurrent": 1 if exact else config.max_concurrent,
            "max_batched_tokens": config.max_batched_tokens,
            "prefix_caching": not exact,
            "stop_ids": sorted(self._renderer.stop_ids),
            "eos_id": self._renderer.tokenizer.eos_id,
        }


class _Running:
    """One request in the engine: what it samples comes out of `get`."""

    def __init__(self, worker: "_Worker", request_id: int) -> None:
        self._worker = worker
        self._id = request_id
        self.events: queue.SimpleQueue[_Event | None] = queue.SimpleQueue()

    def get(self) -> _Event:
        event = self.events.get()
        if event is None:
            raise ModelError(f"The engine process ended: {self._worker.last_words()}. The next request starts it again.")
        return event

    def cancel(self) -> None:
        self._worker.cancel(self._id)


class _Worker:
    """The engine process and the thread that reads from it; started on first use, and again after a crash."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._ids = itertools.count()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._running: dict[int, _Running] = {}
        self._words: deque[str] = deque(maxlen=5)
        self._closed = False

    def start(self) -> None:
        """Start the process if it does not run, and wait until it has loaded the model. Raises ModelError, DependencyError."""
        with self._lock:
            self._start()

    def add(self, command: dict[str, Any]) -> _Running:
        with self._lock:
            self._start()
            request_id = next(self._ids)
            running = _Running(self, request_id)
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
            process.wait()
            if "No module named 'openvino_genai'" in report["error"]:
                raise DependencyError("The openvino engine needs OpenVINO GenAI: `pip install openvino-genai`.")
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
        for line in process.stderr:
            self._words.append(line.strip())
