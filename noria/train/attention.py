"""Attention over packed sequences that share what they have in common.

Sequences stand behind one another in one row, without padding. Those that begin with the same tokens (a project's system prompt and tools;
the two answers of a preference pair) share them: the common beginning is computed once, and every sequence's own part attends to it. Losses
and gradients are those of the sequences computed one by one; only the work is less.

Registered with transformers under the name `noria_packed`, so that every decoder that takes an attention implementation can use it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel

from noria.errors import ModelError

NAME = "noria_packed"
BLOCK = 256
"""Queries that attend at once."""
MAX_KEPT_BYTES, MAX_KEPT_BYTES_OF_ROWS = 12 << 20, 24 << 20
"""Probabilities of one layer up to which they are kept for the backward pass: of a small model in bf16, those of an example of some 1,000 tokens; of
rows of one length, twice as many: what pre-training keeps is then as much at every step."""


@dataclass(frozen=True)
class Segment:
    """Positions `start` to `end` of the row attend to themselves causally and, before that, to all of `prefix`."""

    start: int
    end: int
    prefix: tuple[int, int] | None = None

    @property
    def num_before(self) -> int:
        return self.prefix[1] - self.prefix[0] if self.prefix else 0


@dataclass(frozen=True)
class Rows:
    """Rows of `length` tokens behind one another, each of which attends to itself.

    `mask` (rows, length, length), added to the scores, says more: -inf where a token does not see another. None: nothing beside causality.
    """

    length: int
    mask: torch.Tensor | None = None


def mask_of(sees: torch.Tensor) -> torch.Tensor:
    """What is added to the scores where a token `sees` another (0) or not (-inf), in the precision of the products, as scores have it."""
    kind = torch.get_autocast_dtype(sees.device.type) if torch.is_autocast_enabled(sees.device.type) else torch.float32
    return torch.zeros(sees.shape, dtype=kind, device=sees.device).masked_fill_(~sees, float("-inf"))


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
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    segments: "Sequence[Segment] | Rows | None" = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention (Vaswani et al. 2017), one segment at a time; causal, unless the layer says `is_causal = False` (an encoder's).

    Args:
        query: (1, heads, time, dim); key and value: (1, key heads, time, dim).
        segments: in the order of the row, covering it, or rows of one length; None: one sequence.

    Returns:
        (1, time, heads, dim) and no weights.
    """
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    causal = getattr(module, "is_causal", True)
    segments = segments or [Segment(0, query.shape[2])]
    rows = segments if isinstance(segments, Rows) else _rows_alike(segments)
    query = query if scale == 1.0 else query * scale
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotary positions are float32 where products are bf16
    written_out = query.device.type == "cpu" and value.shape[-1] == query.shape[-1] and not dropout
    if rows is not None:
        if written_out:
            return cast(torch.Tensor, _AttendRows.apply(query, key, value, rows, causal)), None
        return _rows_by_torch(query, key, value, rows, causal, dropout), None
    assert not isinstance(segments, Rows)
    if written_out:
        return cast(torch.Tensor, _Attend.apply(query, key, value, segments, causal)), None
    return _attend_by_torch(query, key, value, segments, causal, dropout).transpose(1, 2).contiguous(), None


def _attend_by_torch(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Sequence[Segment], causal: bool, dropout: float
) -> torch.Tensor:
    """(1, heads, time, dim), by torch's kernels; the queries come scaled."""
    parts: list[torch.Tensor] = []
    for segment in segments:
        keys, values = _seen(key, segment), _seen(value, segment)
        mask = _causal_after(segment.num_before, segment.end - segment.start, query) if segment.prefix and causal else None
        parts.append(
            functional.scaled_dot_product_attention(
                query[:, :, segment.start : segment.end],
                keys,
                values,
                attn_mask=mask,
                is_causal=causal and mask is None,
                scale=1.0,
                dropout_p=dropout,
                enable_gqa=query.shape[1] != key.shape[1],
            )
        )
    return torch.cat(parts, dim=2)


def _seen(rows: torch.Tensor, segment: Segment) -> torch.Tensor:
    """Keys or values (..., time, dim) that a segment attends to: its beginning, then its own."""
    own = rows[..., segment.start : segment.end, :]
    return own if segment.prefix is None else torch.cat((rows[..., slice(*segment.prefix), :], own), dim=-2)


class _Attend(torch.autograd.Function):
    """softmax(Q K^T) V for scaled queries, written out: a block of queries at a time, which in a causal layer sees no later key.

    On a processor faster than torch's fused kernel, whose backward pass does not use the matrix units. Query heads that share a key head are one
    taller matrix. The probabilities are kept for the way back where they are small, else computed again.
    """

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, segments: Sequence[Segment], causal: bool) -> torch.Tensor:
        _, heads, time, dim = query.shape
        out = query.new_empty(1, time, heads, dim)
        kept: list[torch.Tensor] | None = []
        for segment in segments:
            keys, values = _seen(key[0], segment), _seen(value[0], segment)
            for block in _blocks(segment, causal):
                shares = _shares(query[0], keys, block)
                out[0, block.here] = torch.bmm(shares, values[:, : block.num_keys]).view(heads, -1, dim).transpose(0, 1)
                if kept is not None:
                    kept.append(shares)
                    kept = kept if sum(part.nbytes for part in kept) <= MAX_KEPT_BYTES else None
        ctx.save_for_backward(query, key, value, *(kept or ()))
        ctx.segments, ctx.causal, ctx.kept = segments, causal, kept is not None
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        groups, dim = key.shape[1], key.shape[-1]
        upon = gradients[0][0].to(value.dtype).transpose(0, 1)
        into_query = torch.empty_like(query)
        into_key, into_value = (torch.zeros(rows.shape, dtype=torch.promote_types(rows.dtype, torch.float32)) for rows in (key, value))
        remaining = iter(kept)
        for segment in ctx.segments:
            keys, values = _seen(key[0], segment), _seen(value[0], segment)
            of_keys, of_values = torch.zeros_like(keys), torch.zeros_like(values)
            for block in _blocks(segment, ctx.causal):
                shares = next(remaining) if ctx.kept else _shares(query[0], keys, block)
                out = upon[:, block.here].reshape(groups, -1, dim)
                of_values[:, : block.num_keys].baddbmm_(shares.transpose(1, 2), out)
                of_shares = torch.bmm(out, values[:, : block.num_keys].transpose(1, 2))
                of_scores = torch.ops.aten._softmax_backward_data(of_shares, shares, -1, shares.dtype)
                into_query[0, :, block.here] = torch.bmm(of_scores, keys[:, : block.num_keys]).view(query.shape[1], -1, dim)
                of_keys[:, : block.num_keys].baddbmm_(of_scores.transpose(1, 2), query[0, :, block.here].reshape(groups, -1, dim))
            for whole, part in ((into_key, of_keys), (into_value, of_values)):
                whole[0, :, segment.start : segment.end] += part[:, segment.num_before :]
                if segment.prefix is not None:
                    whole[0, :, slice(*segment.prefix)] += part[:, : segment.num_before]
        return into_query, into_key.to(key.dtype), into_value.to(value.dtype), None, None


class _AttendRows(torch.autograd.Function):
    """As `_Attend`, for rows of one length: all of them at once, as a batch of matrices."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows, causal: bool) -> torch.Tensor:
        groups = key.shape[1]
        queries, keys, values = (_batched(part, groups, rows.length) for part in (query, key, value))
        keys, values = keys[:, 0], values[:, 0]
        out = torch.empty_like(queries)
        kept: list[torch.Tensor] | None = []
        for here, end in _parts(rows.length, causal):
            shares = _row_shares(queries[:, :, here], keys[:, :end], rows, here, causal)
            out[:, :, here] = torch.bmm(shares, values[:, :end]).view(out[:, :, here].shape)
            if kept is not None:
                kept.append(shares)
                kept = kept if sum(part.nbytes for part in kept) <= MAX_KEPT_BYTES_OF_ROWS else None
        ctx.save_for_backward(queries, keys, values, *(kept or ()))
        ctx.layout = groups, rows, causal, kept is not None
        return _unbatched(out, groups).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        queries, keys, values, *kept = ctx.saved_tensors
        groups, rows, causal, was_kept = ctx.layout
        upon = _batched(gradients[0].to(values.dtype).transpose(1, 2), groups, rows.length)
        of_queries, of_keys, of_values = torch.empty_like(queries), torch.zeros_like(keys), torch.zeros_like(values)
        remaining = iter(kept)
        for here, end in _parts(rows.length, causal):
            tall, out = queries[:, :, here].flatten(1, 2), upon[:, :, here].flatten(1, 2)
            shares = next(remaining) if was_kept else _row_shares(queries[:, :, here], keys[:, :end], rows, here, causal)
            of_values[:, :end].baddbmm_(shares.transpose(1, 2), out)
            of_scores = torch.ops.aten._softmax_backward_data(torch.bmm(out, values[:, :end].transpose(1, 2)), shares, -1, shares.dtype)
            of_queries[:, :, here] = torch.bmm(of_scores, keys[:, :end]).view(queries[:, :, here].shape)
            of_keys[:, :end].baddbmm_(of_scores.transpose(1, 2), tall)
        return *(_unbatched(part, groups) for part in (of_queries, of_keys[:, None], of_values[:, None])), None, None


def _rows_alike(segments: Sequence[Segment]) -> Rows | None:
    """Several segments as rows, where they are of one length."""
    length = segments[0].end - segments[0].start
    alike = len(segments) > 1 and all(s.end - s.start == length and s.prefix is None for s in segments)
    return Rows(length) if alike else None


def _rows_by_torch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rows: Rows, causal: bool, dropout: float) -> torch.Tensor:
    """(1, time, heads, dim), by torch's kernels; the queries come scaled."""
    parts = [part[0].unflatten(1, (-1, rows.length)).transpose(0, 1) for part in (query, key, value)]
    mask = None if rows.mask is None else rows.mask[:, None].to(query.dtype)
    grouped = query.shape[1] != key.shape[1]
    out = functional.scaled_dot_product_attention(
        *parts, attn_mask=mask, is_causal=causal and mask is None, scale=1.0, dropout_p=dropout, enable_gqa=grouped
    )
    return out.transpose(1, 2).flatten(0, 1)[None]


def _parts(length: int, causal: bool) -> Iterator[tuple[slice, int]]:
    """Queries that attend at once, and the end of the keys they see."""
    for start in range(0, length, BLOCK):
        end = min(start + BLOCK, length)
        yield slice(start, end), end if causal else length


def _batched(part: torch.Tensor, groups: int, length: int) -> torch.Tensor:
    """(1, heads, rows x length, dim) as (groups x rows, heads of a group, length, dim)."""
    return part[0].unflatten(1, (-1, length)).unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1).contiguous()


def _unbatched(part: torch.Tensor, groups: int) -> torch.Tensor:
    """The way back."""
    return part.unflatten(0, (groups, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)[None]


def _row_shares(queries: torch.Tensor, keys: torch.Tensor, rows: Rows, here: slice, causal: bool) -> torch.Tensor:
    """Attention probabilities (groups x rows, heads of a group x queries, keys) of queries (groups x rows, heads of a group, queries, dim)."""
    tall, num_queries = queries.flatten(1, 2), here.stop - here.start
    if rows.mask is None:
        return _softmax(tall, keys, num_queries if causal else None)
    scores = torch.bmm(tall, keys.transpose(1, 2))
    scores.view(-1, len(rows.mask), queries.shape[1], num_queries, keys.shape[1]).add_(rows.mask[:, None, here, : keys.shape[1]])
    return scores.softmax(dim=-1)


@dataclass(frozen=True)
class _Block:
    """Queries at `here` of the row; they see the first `num_keys` keys of their segment: a causal layer's all but the last `len(here)` in full."""

    here: slice
    num_keys: int
    causal: bool


def _blocks(segment: Segment, causal: bool) -> Iterator[_Block]:
    """The segment's queries, `BLOCK` at a time; what is left over joins the last block where it is less than half of one."""
    num_blocks = max(1, (segment.end - segment.start + BLOCK // 2) // BLOCK)
    for number in range(num_blocks):
        start = segment.start + number * BLOCK
        end = segment.end if number == num_blocks - 1 else start + BLOCK
        yield _Block(slice(start, end), segment.num_before + (end if causal else segment.end) - segment.start, causal)


def _shares(query: torch.Tensor, keys: torch.Tensor, block: _Block) -> torch.Tensor:
    """Attention probabilities of a block: (key heads, query heads of each x queries, keys)."""
    groups, length = keys.shape[0], block.here.stop - block.here.start
    tall = query[:, block.here].reshape(groups, -1, query.shape[-1])
    return _softmax(tall, keys[:, : block.num_keys], length if block.causal else None)


def _softmax(tall: torch.Tensor, keys: torch.Tensor, num_causal: int | None) -> torch.Tensor:
    """softmax of tall keys^T; where queries are causal, so many of each head, they see all keys but of the last as many those up to their own."""
    scores = torch.bmm(tall, keys.transpose(1, 2))
    if num_causal is not None:
        scores.unflatten(1, (-1, num_causal))[..., -num_causal:] += _causal_after(0, num_causal, tall)
    return scores.softmax(dim=-1)


def _causal_after(num_before: int, length: int, like: torch.Tensor) -> torch.Tensor:
    """(length, num_before + length): everything before is seen, what follows a position is not."""
    return like.new_full((length, num_before + length), float("-inf")).triu(num_before + 1)


AttentionInterface.register(NAME, packed_attention)


def use_packed_attention(model: PreTrainedModel) -> None:
    """Switch a model to packed attention. Raises ModelError where its layers attend in another way (sliding windows, an encoder's outputs)."""
    config: Any = model.config
    layers = getattr(config, "layer_types", None)
    windows = any(kind != "full_attention" for kind in layers) if layers else bool(getattr(config, "sliding_window", None))
    if windows or config.is_encoder_decoder:
        kind = config.model_type
        raise ModelError(f"Model type {kind!r} attends in a way that packing does not cover; use a decoder or encoder with full attention.")
    model.set_attn_implementation(NAME)


def use_own_attention(model: PreTrainedModel) -> PreTrainedModel:
    """Give a tuned model back the attention that it generates with."""
    model.set_attn_implementation("sdpa")
    return model
