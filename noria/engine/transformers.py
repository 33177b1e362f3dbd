"""Generation with transformers, on any torch device: the reference the other engines are compared with.

In: a plain checkpoint (a GGUF file is dequantized first) or a model in memory. Out: deltas and generations with token ids and exact
log-probabilities. Each request has its own key-value cache and takes the model for one step at a time, so requests of many threads take
turns; nothing is batched. Sampling adds Gumbel noise drawn from the request's seed, so one seed gives one answer.

The log-probability of a token is the model's own, before temperature, top-p and grammar.
"""

import secrets
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from noria.engine.answer import Answer, generation_of, grammar_of, prompt_of
from noria.engine.config import EngineConfig
from noria.errors import DependencyError, ModelError
from noria.model import BaseModel, Renderer, Tokenizer, load_checkpoint, load_tokenizer, plain_checkpoint
from noria.schema import Delta, Generation, GenerationRequest, Message, ToolSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_DEVICES = {"CPU": "cpu", "GPU": "cuda"}  # as OpenVINO calls them


class TransformersGenerator:
    """A `Generator` over a transformers model.

    Args:
        base: weights by `noria.model.resolve`, or a checkpoint folder or GGUF file.
        model: a model in memory to use instead of loading `base`'s weights (its tokenizer is still read from `base`).
    """

    def __init__(
        self,
        base: BaseModel | Path,
        config: EngineConfig | None = None,
        renderer: Renderer | None = None,
        model: "PreTrainedModel | None" = None,
    ) -> None:
        self._config = config or EngineConfig(kind="transformers")
        found = base if isinstance(base, BaseModel) else BaseModel(name=base.stem, kind="folder" if base.is_dir() else "gguf", path=base)
        self._name = found.path.stem
        self._renderer = renderer or Renderer(load_tokenizer(found.path))
        device = _DEVICES.get(self._config.device, self._config.device)
        self._model: Any = model if model is not None else _on_device(load_checkpoint(plain_checkpoint(found)), device)
        trained_for = int(self._model.config.max_position_embeddings)
        self._context_tokens = min(self._config.context_tokens or trained_for, trained_for)
        self._turn = threading.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

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
        """Let go of the model. May be called twice."""
        self._closed = True
        self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stream(self, request: GenerationRequest, prompt: list[int], grammar: str | None) -> Iterator[Delta | Generation]:
        answer = Answer(request, self._renderer, prompt)
        sampler = _Sampler(request, self._grammars.matcher(grammar) if grammar is not None else None)
        new, cache = prompt, None
        ended = False
        for _ in range(request.max_tokens):
            logits, cache = self._step(new, cache)
            token_id, logprob = sampler.sample(logits)
            yield from answer.push([token_id], [logprob])
            ended = token_id in self._renderer.stop_ids
            if ended or answer.stopped:
                break
            new = [token_id]
        yield from answer.finish()
        yield answer.generation("stop" if ended or answer.stopped else "length")

    def _step(self, token_ids: list[int], cache: Any) -> "tuple[torch.Tensor, Any]":
        """Logits behind the last of the new tokens, on the CPU, and the cache that now holds them. logits: (vocabulary,)."""
        import torch

        with self._turn, torch.inference_mode():
            if self._closed:
                raise ModelError("The engine is closed. Open it again.")
            ids = torch.tensor([token_ids], device=self._model.device)
            out = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            return out.logits[0, -1].float().cpu(), out.past_key_values

    @cached_property
    def _grammars(self) -> "_Grammars":
        return _Grammars(self._renderer.tokenizer, int(self._model.config.vocab_size), sorted(self._renderer.stop_ids))


class _Sampler:
    """Picks the next token of one request."""

    def __init__(self, request: GenerationRequest, matcher: Any) -> None:
        import torch

        self._request = request
        self._matcher = matcher
        self._random = torch.Generator().manual_seed(secrets.randbits(32) if request.seed is None else request.seed % (1 << 63))

    def sample(self, logits: "torch.Tensor") -> tuple[int, float]:
        """The token and its log-probability under the model. logits: (vocabulary,)."""
        import torch

        scores = logits.clone()
        if self._matcher is not None:
            _forbid(self._matcher, scores)
        if self._request.temperature > 0:
            scores = _nucleus(scores / self._request.temperature, self._request.top_p)
            noise = torch.rand(scores.shape, generator=self._random).clamp_min(1e-20).log().neg().log().neg()
            scores = scores + noise  # the largest sum is a draw from softmax(scores): Gumbel-max
        token_id = int(scores.argmax())
        if self._matcher is not None and not self._matcher.is_terminated():
            self._matcher.accept_token(token_id)
        return token_id, float(torch.log_softmax(logits, dim=-1)[token_id])


def _nucleus(scores: "torch.Tensor", top_p: float) -> "torch.Tensor":
    """Scores with all but the likeliest tokens that together reach `top_p` put out of reach."""
    if top_p >= 1:
        return scores
    ordered, order = scores.softmax(dim=-1).sort(descending=True)
    beyond = ordered.cumsum(dim=-1) - ordered >= top_p
    return scores.index_fill(0, order[beyond], float("-inf"))


def _forbid(matcher: Any, scores: "torch.Tensor") -> None:
    import xgrammar

    mask = xgrammar.allocate_token_bitmask(1, scores.shape[-1])
    matcher.fill_next_token_bitmask(mask)
    xgrammar.apply_token_bitmask_inplace(scores.unsqueeze(0), mask)


class _Grammars:
    """Compiles grammars for one vocabulary; each text once."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, stop_ids: list[int]) -> None:
        try:
            import xgrammar
        except ImportError as error:
            raise DependencyError(
                "Tools and JSON schemas with the transformers engine need xgrammar: run `make install` in the clone of Noria."
            ) from error
        self._xgrammar = xgrammar
        tokens = ["" if i in tokenizer.special_ids else token for i, token in enumerate(tokenizer.token_strings())]  # empty: never text
        info = xgrammar.TokenizerInfo(tokens, xgrammar.VocabType.BYTE_LEVEL, vocab_size=vocab_size, stop_token_ids=stop_ids)
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=2)
        self._lock = threading.Lock()

    def matcher(self, grammar: str) -> Any:
        with self._lock:
            return self._xgrammar.GrammarMatcher(self._compiler.compile_grammar(grammar))


def _on_device(model: Any, device: str) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise ModelError(f"`[engine] device` is {device!r}, which this torch cannot use: {error}.") from error
