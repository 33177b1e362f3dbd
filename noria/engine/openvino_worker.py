"""The process that runs OpenVINO GenAI: requests come in as JSON lines on stdin, sampled tokens go out as JSON lines on stdout.

It is a process of its own because OpenVINO's `step` keeps Python's lock while it computes, which would stop a server for the length of a
step, and because a crash in native code must not take the server with it. It ends when stdin ends, so it never outlives its parent.

Run by `noria.engine.openvino`; by hand: `python -m noria.engine.openvino_worker '{"gguf": "model.gguf", ...}'`.

In:  {"op": "add", "id", "prompt", "max_tokens", "temperature", "top_p", "seed", "grammar"} | {"op": "cancel", "id"}
Out: {"ready": true} or {"error": text} once, then a line a step: {"events": [[id, token_ids, logprobs, end], ...]}
     where end is null, "stop", "length" or "failed".
"""

import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

from noria.engine.beginnings import Beginnings, blocks_of


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal group; the parent decides
    settings = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever native code prints must not get between the lines
    try:
        worker = _Worker(settings)
    except Exception as error:  # noqa: BLE001  # reported to the parent, which names it
        print(json.dumps({"error": f"{error}"}), file=out, flush=True)
        return
    print(json.dumps({"ready": True}), file=out, flush=True)
    commands = _Commands(0)
    while not commands.ended:
        for command in commands.read(wait=not worker.busy):
            worker.take(command)
        events = worker.step() if worker.busy else []
        if events:
            print(json.dumps({"events": events}, separators=(",", ":")), file=out, flush=True)


class _Commands:
    """Lines of a pipe, read without waiting where there is other work."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self.ended = False

    def read(self, wait: bool) -> Iterator[dict[str, Any]]:
        while select.select([self._descriptor], [], [], None if wait else 0)[0]:
            wait = False
            block = os.read(self._descriptor, 1 << 20)
            if not block:
                self.ended = True
                return
            self._buffer += block
            *lines, self._buffer = self._buffer.split(b"\n")
            yield from (json.loads(line) for line in lines)


class _Worker:
    def __init__(self, settings: dict[str, Any]) -> None:
        import openvino_genai as genai

        self._genai = genai
        scheduler = genai.SchedulerConfig()
        scheduler.num_kv_blocks = 0
        scheduler.cache_size = settings["cache_gb"]
        scheduler.max_num_seqs = settings["max_concurrent"]
        scheduler.max_num_batched_tokens = settings["max_batched_tokens"]
        scheduler.enable_prefix_caching = settings["prefix_caching"]
        scheduler.dynamic_split_fuse = True
        self._pipeline = genai.ContinuousBatchingPipeline(settings["gguf"], scheduler, settings["device"], settings["properties"])
        self._stop_ids = set(settings["stop_ids"])
        self._eos_id = settings["eos_id"]
        self._prefix_caching = settings["prefix_caching"]
        self._waiting: dict[int, tuple[dict[str, Any], list[int]]] = {}  # with the blocks of the prompt
        self._running: dict[int, Any] = {}
        self._failed: list[int] = []
        self._beginnings = Beginnings()

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._running or self._failed) or self._pipeline.has_non_finished_requests()

    def take(self, command: dict[str, Any]) -> None:
        request_id = command["id"]
        if command["op"] == "add":
            self._waiting[request_id] = command, blocks_of(command["prompt"]) if self._prefix_caching else []
            return
        self._waiting.pop(request_id, None)
        self._beginnings.end(request_id, read=False)
        handle = self._running.pop(request_id, None)
        if handle is not None:
            handle.cancel()

    def step(self) -> list[list[Any]]:
        """Compute one step; what each running request got from it."""
        self._admit()
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        events: list[list[Any]] = [[request_id, [], [], "failed"] for request_id in self._failed]
        self._failed.clear()
        for request_id, handle in list(self._running.items()):
            event = self._read(request_id, handle)
            if event is not None:
                events.append(event)
                self._beginnings.end(request_id, read=event[3] != "failed")
                if event[3] is not None:
                    del self._running[request_id]
        return events

    def _admit(self) -> None:
        """Hand the engine what waits, in order, but for prompts whose beginning is just being read for another."""
        for request_id, (command, blocks) in list(self._waiting.items()):
            if not self._beginnings.worth_waiting(blocks):
                del self._waiting[request_id]
                self._beginnings.start(request_id, blocks)
                self._add(request_id, command)

    def _add(self, request_id: int, command: dict[str, Any]) -> None:
        import numpy as np
        from openvino import Tensor

        try:
            prompt = Tensor(np.array([command["prompt"]], dtype=np.int64))
            self._running[request_id] = self._pipeline.add_request(request_id, prompt, self._config(command))
        except Exception as error:  # noqa: BLE001  # a request the engine refuses must not end the others
            sys.stderr.write(f"openvino refused a request: {error}\n")
            self._failed.append(request_id)
            self._beginnings.end(request_id, read=False)

    def _read(self, request_id: int, handle: Any) -> list[Any] | None:
        token_ids: list[int] = []
        logprobs: list[float] = []
        reason = self._genai.GenerationFinishReason.NONE
        status = handle.get_status()
        while handle.can_read():
            for output in handle.read().values():
                token_ids += output.generated_ids
                logprobs += output.generated_log_probs
                reason = output.finish_reason
        if status == self._genai.GenerationStatus.RUNNING:
            return [request_id, token_ids, logprobs, None] if token_ids else None
        if status != self._genai.GenerationStatus.FINISHED:
            return [request_id, token_ids, logprobs, "failed"]
        return [request_id, token_ids, logprobs, "length" if reason == self._genai.GenerationFinishReason.LENGTH else "stop"]

    def _config(self, command: dict[str, Any]) -> Any:
        config = self._genai.GenerationConfig()
        config.max_new_tokens = command["max_tokens"]
        config.eos_token_id = self._eos_id
        config.stop_token_ids = self._stop_ids
        config.logprobs = 1
        config.apply_chat_template = False
        if command["temperature"] > 0:
            config.do_sample = True
            config.temperature = command["temperature"]
            config.top_p = command["top_p"]
            config.top_k = 0
            config.rng_seed = command["seed"] % (1 << 63)
        if command["grammar"] is not None:
            config.structured_output_config = self._genai.StructuredOutputConfig(grammar=command["grammar"])
        return config


if __name__ == "__main__":
    main()
