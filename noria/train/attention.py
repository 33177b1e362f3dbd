"""Attention over packed sequences that share what they have in common.

Sequences stand behind one another in one row, without padding. Those that begin with the same tokens (a project's system prompt and tools;
the two answers of a preference pair) share them: the common beginning is computed once, and every sequence's own part attends to it. Losses
and gradients are those of the sequences computed one by one; only the work is less.

Registered with transformers under the name `noria_packed`, so that every decoder that takes an attention implementation can use it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

from noria.errors import ModelError

NAME = "noria_packed"
MAX_WRITTEN_OUT = 1024
"""Keys up to which attention on a processor is written out: above that its memory, heads x time x keys, outgrows what it saves."""


@dataclass(frozen=True)
class Segment:
    """Positions `start` to `end` of the row attend to themselves causally and, before that, to all of `prefix`."""

    start: int
    end: int
    prefix: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Sequences packed into one row, with the predictions asked of them.

    `before[k]` is the position whose output predicts `targets[k]`, a token of sequence `owners[k]` that counts `weights[k]`.
    """

    tokens: list[int]
    positions: list[int]
    segments: list[Segment]
    before: list[int]
    targets: list[int]
    weights: list[float]
    owners: list[int]


def pack_row(sequences: Sequence[Sequence[int]], weights: Sequence[Sequence[float]], prefixes: Sequence[int]) -> Row:
    """Lay out sequences in one row.

    Args:
        weights: one a token; tokens of weight zero are context and not predicted.
        prefixes: how many leading tokens of each sequence may be shared; equal beginnings are computed once. All of them have weight zero.
    """
    row = Row(tokens=[], positions=[], segments=[], before=[], targets=[], weights=[], owners=[])
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, (sequence, prefix) in enumerate(zip(sequences, prefixes, strict=True)):
        groups.setdefault(tuple(sequence[: min(prefix, len(sequence) - 1)]), []).append(index)
    for beginning, members in groups.items():
        shared = _add(row, beginning, 0, None) if beginning and len(members) > 1 else None
        skipped = len(beginning) if shared else 0
        for index in members:
            start, _ = _add(row, sequences[index][skipped:], skipped, shared)
            for at in range(max(1, skipped), len(sequences[index])):
                if weights[index][at] > 0:
                    row.before.append(start + at - 1 - skipped if at > skipped or not shared else shared[1] - 1)
                    row.targets.append(sequences[index][at])
                    row.weights.append(weights[index][at])
                    row.owners.append(index)
    return row


def _add(row: Row, tokens: Sequence[int], position: int, prefix: tuple[int, int] | None) -> tuple[int, int]:
    start = len(row.tokens)
    row.tokens.extend(tokens)
    row.positions.extend(range(position, position + len(tokens)))
    row.segments.append(Segment(start, len(row.tokens), prefix))
    return start, len(row.tokens)


def packed_attention(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    segments: Sequence[Segment] | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal scaled dot-product attention (Vaswani et al. 2017), one segment at a time.

    Args:
        query: (1, heads, time, dim); key and value: (1, key heads, time, dim).
        segments: in the order of the row, covering it; None: one sequence.

    Returns:
        (1, time, heads, dim) and no weights.
    """
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    parts: list[torch.Tensor] = []
    for segment in segments or [Segment(0, query.shape[2])]:
        here = slice(segment.start, segment.end)
        keys, values, num_before = key[:, :, here], value[:, :, here], 0
        if segment.prefix is not None:
            before = slice(*segment.prefix)
            num_before = before.stop - before.start
            keys, values = torch.cat((key[:, :, before], keys), dim=2), torch.cat((value[:, :, before], values), dim=2)
        parts.append(_attend(query[:, :, here], keys, values, num_before, scale, dropout))
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, num_before: int, scale: float, dropout: float) -> torch.Tensor:
    """(1, heads, time, dim): each position sees the `num_before` first keys and, of the others, those up to its own."""
    if query.device.type == "cpu" and keys.shape[2] <= MAX_WRITTEN_OUT and values.shape[-1] == query.shape[-1] and not dropout:
        return cast(torch.Tensor, _WrittenOut.apply(query, keys, values, num_before, scale))
    query, keys = query.to(values.dtype), keys.to(values.dtype)  # rotary positions are float32 where products are bf16
    mask = _causal_after(num_before, query.shape[2], query) if num_before else None
    return functional.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask, is_causal=mask is None, scale=scale, dropout_p=dropout, enable_gqa=query.shape[1] != keys.shape[1]
    )


class _WrittenOut(torch.autograd.Function):
    """softmax(scale Q K^T) V with the probabilities kept for the way back: for short sequences faster on a processor than torch's fused kernel,
    whose backward pass does not use the matrix units. Query heads that share a key head are one taller matrix."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, num_before: int, scale: float) -> torch.Tensor:
        _, heads, length, dim = query.shape
        groups = keys.shape[1]
        query, keys = query.to(values.dtype), keys.to(values.dtype)
        tall = (query * scale).reshape(groups, heads // groups * length, dim)
        mask = _causal_after(num_before, length, tall).repeat(heads // groups, 1)
        shares = torch.baddbmm(mask[None], tall, keys[0].transpose(1, 2)).softmax(dim=-1)
        out = torch.bmm(shares, values[0])
        ctx.save_for_backward(tall, keys, values, shares)
        ctx.scale = scale
        return out.view(1, heads, length, dim)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        tall, keys, values, shares = ctx.saved_tensors
        shape = gradients[0].shape
        out = gradients[0].reshape(tall.shape).to(values.dtype)
        into_values = torch.bmm(shares.transpose(1, 2), out)
        into_shares = torch.bmm(out, values[0].transpose(1, 2))
        into_scores = torch.ops.aten._softmax_backward_data(into_shares, shares, -1, shares.dtype)
        into_query = torch.bmm(into_scores, keys[0]).mul_(ctx.scale)
        into_keys = torch.bmm(into_scores.transpose(1, 2), tall)
        return into_query.view(shape), into_keys[None], into_values[None], None, None


def _causal_after(num_before: int, length: int, like: torch.Tensor) -> torch.Tensor:
    """(length, num_before + length): everything before is seen, what follows a position is not."""
    return like.new_full((length, num_before + length), float("-inf")).triu(num_before + 1)


AttentionInterface.register(NAME, packed_attention)


def use_packed_attention(model: PreTrainedModel) -> None:
    """Switch a decoder to packed attention. Raises ModelError where its layers attend in another way (sliding windows, own masks)."""
    if getattr(model.config, "is_encoder_decoder", False) or getattr(model.config, "sliding_window", None):
        kind = model.config.model_type
        raise ModelError(f"Model type {kind!r} attends in a way that packing does not cover; use a causal decoder with full attention.")
    model.set_attn_implementation(NAME)


def use_own_attention(model: PreTrainedModel) -> PreTrainedModel:
    """Give a tuned model back the attention that it generates with."""
    model.set_attn_implementation("sdpa")
    return model


def token_logprobs(model: PreTrainedModel, row: Row) -> torch.Tensor:
    """Natural-log probability of each of the row's targets, in float32: (predictions,).

    Only positions that predict something go through the output layer: the vocabulary's logits are most of a small model's memory.
    """
    device = model.device
    output = model(
        input_ids=torch.tensor([row.tokens], device=device),
        position_ids=torch.tensor([row.positions], device=device),
        use_cache=False,
        logits_to_keep=torch.tensor(row.before, device=device),
        segments=row.segments,
    )
    return -functional.cross_entropy(output.logits[0].float(), torch.tensor(row.targets, device=device), reduction="none")
