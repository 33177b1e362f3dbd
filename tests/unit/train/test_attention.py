"""Packing and sharing change the work, not the result: log-probabilities and gradients equal those of the sequences one by one."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from noria.testing.tiny_training import tiny_model
from noria.train import attention
from noria.train.attention import Rows, Segment, pack_row, packed_attention, use_own_attention, use_packed_attention
from noria.train.output import token_logprobs

SHARED = tuple(range(10, 21))
SEQUENCES = [(*SHARED, 30, 31, 32, 33), (5, 6, 7, 8), (*SHARED, 40, 41), (9, 1, 2, 3, 4, 5), (*SHARED, 30, 50, 51)]
WEIGHTS = [[0.0] * 11 + [1.0] * 4, [0, 1, 1, 1], [0.0] * 11 + [1.0, 2.0], [0, 0, 0, 1, 1, 1], [0.0] * 12 + [1.0, 1.0]]
PREFIXES = [11, 0, 11, 2, 11]


def one_by_one(model: PreTrainedModel) -> list[torch.Tensor]:
    """Plain transformers, a sequence at a time, as the reference."""
    out: list[torch.Tensor] = []
    for tokens, weights in zip(SEQUENCES, WEIGHTS, strict=True):
        logits = model(input_ids=torch.tensor([tokens])).logits[0, :-1]
        picked = functional.log_softmax(logits, -1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
        out.append(picked[torch.tensor(weights[1:]) > 0])
    return out


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_packed_and_shared_equals_one_by_one() -> None:
    model = tiny_model()
    reference = one_by_one(model)
    torch.cat(reference).sum().backward()
    expected = gradients(model)
    model.zero_grad()
    use_packed_attention(model)
    row = pack_row(SEQUENCES, WEIGHTS, PREFIXES)
    logprobs = token_logprobs(model, row)
    logprobs.sum().backward()
    for index, wanted in enumerate(reference):
        mine = logprobs[torch.tensor(row.owners) == index]
        torch.testing.assert_close(mine, wanted, atol=1e-5, rtol=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, expected[name], atol=2e-5, rtol=1e-4)


def test_a_shared_beginning_is_computed_once() -> None:
    row = pack_row(SEQUENCES, WEIGHTS, PREFIXES)
    assert len(row.tokens) == sum(map(len, SEQUENCES)) - 2 * len(SHARED)
    assert row.weights == [w for index in (0, 2, 4, 1, 3) for w in WEIGHTS[index] if w > 0]


def test_own_attention_is_given_back() -> None:
    model = tiny_model()
    before = model(input_ids=torch.tensor([SEQUENCES[0]])).logits
    use_packed_attention(model)
    use_own_attention(model)
    torch.testing.assert_close(model(input_ids=torch.tensor([SEQUENCES[0]])).logits, before)


@pytest.mark.parametrize("prefix", [0, 4, 11, 99])
def test_any_prefix_length_gives_the_same(prefix: int) -> None:
    model = tiny_model()
    use_packed_attention(model)
    twins = [(*SHARED, 7, 8), (*SHARED, 7, 9)]
    weights = [[0.0] * 12 + [1.0]] * 2
    with torch.no_grad():
        alone = [token_logprobs(model, pack_row([t], [w], [0])) for t, w in zip(twins, weights, strict=True)]
        together = token_logprobs(model, pack_row(twins, weights, [prefix, prefix]))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kept", [0, 1 << 30])
@pytest.mark.parametrize("block", [512, 4])
def test_rows_attend_as_segments_one_after_the_other(monkeypatch: pytest.MonkeyPatch, kept: int, block: int, causal: bool) -> None:
    monkeypatch.setattr(attention, "MAX_KEPT_BYTES", kept)
    monkeypatch.setattr(attention, "BLOCK", block)
    torch.manual_seed(0)
    query = torch.randn(1, 4, 30, 6, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(1, 2, 30, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    segments = [Segment(start, start + 10) for start in (0, 10, 20)]
    upon = torch.randn(1, 30, 4, 6, dtype=torch.float64)
    layer: Any = SimpleNamespace(is_causal=causal)
    found = []
    for attend in (
        lambda: attention._AttendRows.apply(query, key, value, Rows(10), causal),  # pyright: ignore[reportPrivateUsage]
        lambda: attention._Attend.apply(query, key, value, segments, causal),  # pyright: ignore[reportPrivateUsage]
        lambda: attention._rows_by_torch(query * 1.0, key, value, Rows(10), causal, 0.0),  # pyright: ignore[reportPrivateUsage]
        lambda: packed_attention(layer, query, key, value, None, scaling=1.0, segments=segments)[0],
    ):
        out: Any = attend()
        found.append([out, *torch.autograd.grad(out, (query, key, value), upon)])
    for others in found[1:]:
        for mine, theirs in zip(found[0], others, strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("block", [512, 4])
def test_a_mask_parts_documents_within_a_row(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(attention, "BLOCK", block)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 20, 6, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2))
    segments = [Segment(0, 7), Segment(7, 10), Segment(10, 20)]
    document = torch.tensor([[0] * 7 + [1] * 3, [2] * 10])
    sees = (document[:, :, None] == document[:, None]) & torch.ones(10, 10, dtype=torch.bool).tril()
    mask = torch.zeros(2, 10, 10, dtype=torch.float64).masked_fill(~sees, float("-inf"))
    upon = torch.randn(1, 20, 4, 6, dtype=torch.float64)
    found = []
    for how in (Rows(10, mask), segments):
        out = packed_attention(torch.nn.Module(), query, key, value, None, scaling=1.0, segments=how)[0]
        found.append([out, *torch.autograd.grad(out, (query, key, value), upon)])
    by_torch = attention._rows_by_torch(query, key, value, Rows(10, mask), True, 0.0)  # pyright: ignore[reportPrivateUsage]
    torch.testing.assert_close(by_torch, found[0][0])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)
