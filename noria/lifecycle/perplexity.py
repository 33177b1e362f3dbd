"""How well a model that writes foretells right answers: the perplexity of the targets or the assistant's messages of a task file.

In: a folder, a GGUF file or a base's name, and rows. Out: exp of the mean loss of the tokens that training would learn, each row given what stands
before it, with its interval over rows drawn anew. It is of tokens: between models with other tokenizers it cannot be compared.
Not covered: servers, releases, past cases, and models too large to be computed with plain weights; they have none, and larger ones are told.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noria.data import ChatExample, Example
from noria.data.task_checks import TaskFile
from noria.errors import DependencyError, ModelError
from noria.evaluate.counted import Counted, share
from noria.evaluate.intervals import intervals
from noria.lifecycle.measure import Say, holds_cases, is_release
from noria.lifecycle.standing import group_of, reported, spread
from noria.lifecycle.trial import Progress
from noria.model import BaseModel, Renderer, load_for_training, load_tokenizer, resolve
from noria.train import Supervised, encode_chat
from noria.train.attention import use_packed_attention
from noria.train.batches import Example as Learnt

NAME = "perplexity"
MOST_TOKENS = 50_000
"""Of the rows together; of more, rows spread over the file."""
MOST_BYTES = 2 << 30
"""Of plain weights, which have about four bytes for one of a GGUF file."""
BYTES_FOR_ONE = 4
Conversation = Callable[[Example], ChatExample]
"""What training would learn of a row."""


def with_perplexity(
    report: dict[str, Any], model: str, against: str | None, file: TaskFile, conversation: Callable[[str], Conversation], progress: Progress, say: Say
) -> dict[str, Any]:
    """The report with the perplexity of both models, as far as they have one; what keeps a model from it is told, and keeps nothing else from it.

    Args:
        conversation: how a model of this name learns rows.
    """
    for name, suffix in ((model, ""), (against, "_against")):
        if name is None or (base := _local(name)) is None:
            continue
        try:
            rows, found = _perplexity(base, file, conversation(name), lambda done, total, of=name: progress(f"{of} ({NAME})", done, total))
        except (ModelError, DependencyError) as error:
            say(f"The perplexity of '{name}' is not measured: {error}")
            continue
        report.setdefault(f"metrics{suffix}", {})[NAME] = found.value(NAME)
        if not suffix:
            groups = [group_of(row, str(line)) for line, row in rows.items()]
            report["intervals"] = {**report["intervals"], **intervals([found], groups)}
            report["n_of"] = {**report.get("n_of", {}), NAME: len(rows)}
    return report


def _local(name: str) -> BaseModel | None:
    return None if name.startswith(("http://", "https://")) or is_release(name) or holds_cases(name) else resolve(name)


def _perplexity(
    base: BaseModel, file: TaskFile, conversation: Conversation, report: Callable[[int, int], object]
) -> tuple[dict[int, Example], Counted]:
    """The rows that were read, and their losses. Raises ModelError, DependencyError."""
    size = _num_bytes(base)
    if size > MOST_BYTES:
        raise ModelError(f"its weights would take {size / (1 << 30):.1f} GB as plain numbers, and {MOST_BYTES >> 30} GB are the most.")
    renderer = Renderer(load_tokenizer(base.path))
    learnt = {line: _encoded(renderer, conversation(row)) for line, row in file.rows.items()}
    num_tokens = sum(one.num_tokens for one in learnt.values())
    model, _ = load_for_training(base)
    readable = getattr(model.config, "max_position_embeddings", None) or MOST_TOKENS
    kept = {line: file.rows[line] for line, one in learnt.items() if one.num_tokens <= readable}
    kept = spread(kept, max(1, int(len(kept) * min(1.0, MOST_TOKENS / num_tokens))))
    if not kept:
        raise ModelError(f"every row is longer than the {readable} tokens that it reads.")
    use_packed_attention(model)
    losses = [_loss(model, learnt[line]) for line in reported(kept, len(kept), report)]
    counts = np.array([(loss, learnt[line].weight) for loss, line in zip(losses, kept, strict=True)])
    return kept, Counted.of("ratio", counts, {NAME: lambda sums: np.exp(share(sums))})


def _encoded(renderer: Renderer, row: ChatExample) -> Learnt:
    return encode_chat(renderer, row.messages, row.tools, row.train)


@torch.no_grad()
def _loss(model: Any, example: Learnt) -> float:
    return float(Supervised().loss(model, [example]).total)


def _num_bytes(base: BaseModel) -> int:
    """What the weights take as plain numbers."""
    plain = [] if base.kind == "gguf" else [path for pattern in ("*.safetensors", "*.bin") for path in Path(base.path).glob(pattern)]
    if plain or base.gguf is None:
        return sum(path.stat().st_size for path in plain)
    return BYTES_FOR_ONE * base.gguf.stat().st_size
