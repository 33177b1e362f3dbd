"""Generation with OpenVINO GenAI: continuous batching over a GGUF file, all requests sharing cached prefixes.

In: requests; prompts are rendered here and passed as token ids, the engine's own chat template is never used. Out: deltas and generations
with token ids and log-probabilities. The engine runs in a process of its own (`openvino_worker`); this side never computes.

Greedy answers do not depend on what else is in the batch (keys and values are kept in fp32; tested). Sampled answers do, a little: sums come
out differently in the eighth digit, and among 49,000 tokens that is enough to draw a neighbour. So a request with both a temperature and a
`seed` goes to a second engine process that answers one request at a time and gives the same tokens always; it is started on first use.
"""

import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from noria.engine.answer import Answer, generation_of, grammar_of, prompt_of
from noria.engine.config import EngineConfig
from noria.engine.openvino_process import EngineProcess
from noria.errors import ModelError
from noria.model import Renderer, exact_gguf, load_tokenizer
from noria.model.gguf_file import read_metadata
from noria.schema import Delta, Generation, GenerationRequest, Message, ToolSpec


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
        self._weights = exact_gguf(gguf_path)
        self._renderer = renderer or Renderer(load_tokenizer(gguf_path))
        metadata = read_metadata(gguf_path)
        architecture = metadata["general.architecture"].value
        trained_for = int(metadata[f"{architecture}.context_length"].value)
        self._context_tokens = min(self._config.context_tokens or trained_for, trained_for)
        self._batch = EngineProcess(self._settings(exact=False))
        self._exact: EngineProcess | None = None
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

    def _worker_for(self, request: GenerationRequest) -> "EngineProcess":
        if request.temperature == 0 or request.seed is None:
            return self._batch
        with self._lock:
            if self._exact is None:
                self._exact = EngineProcess(self._settings(exact=True))
            return self._exact

    def _settings(self, exact: bool) -> dict[str, Any]:
        config = self._config
        threads = 1 if exact else config.threads or os.cpu_count() or 1
        properties = {"INFERENCE_NUM_THREADS": threads, **_arithmetic(config.cache_precision)} if config.device == "CPU" else {}
        return {
            "gguf": str(self._weights),
            "device": config.device,
            "properties": properties,
            "cache_gb": config.cache_gb,
            "max_concurrent": 1 if exact else config.max_concurrent,
            "max_batched_tokens": config.max_batched_tokens,
            "prefix_caching": not exact,
            "stop_ids": sorted(self._renderer.stop_ids),
            "eos_id": self._renderer.tokenizer.eos_id,
        }


def _arithmetic(cache_precision: str) -> dict[str, Any]:
    """OpenVINO's properties for a precision of the cache.

    Left to itself the plugin computes in bf16 where the processor can (and then refuses any other cache), and rounds activations to int8 where
    it has the instructions: answers would change with the machine and with what else is in the batch.
    """
    computed_in = "bf16" if cache_precision == "bf16" else "f32"
    return {"KV_CACHE_PRECISION": cache_precision, "INFERENCE_PRECISION_HINT": computed_in, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
