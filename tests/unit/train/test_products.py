"""Lean products give the values and gradients of the layers they take the place of."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.multiprocessing.reductions import StorageWeakRef
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from noria.testing.tiny_training import tiny_model
from noria.train import attention, products
from noria.train.attention import Segment, _blocks, packed_attention
from noria.train.products import _Gated, _Rotated, use_lean_products


def adapted_model() -> torch.nn.Module:
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    return get_peft_model(tiny_model(), lora)


def loss_and_gradients(model: torch.nn.Module) -> tuple[float, dict[str, torch.Tensor]]:
    tokens = torch.arange(20)[None] * 7 % 60
    loss = model(input_ids=tokens, labels=tokens).loss
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("make", [adapted_model, tiny_model], ids=["adapters", "all weights"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_what_learns_learns_the_same(make: Callable[[], torch.nn.Module], dtype: torch.dtype, tolerance: float) -> None:
    model = make()
    expected_loss, expected = loss_and_gradients(copy.deepcopy(model))
    use_lean_products(model, dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss, gradients = loss_and_gradients(model)
    assert loss == pytest.approx(expected_loss, abs=tolerance)
    assert set(gradients) == set(expected)
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        assert torch.linalg.norm(gradient - expected[name]) <= 2 * tolerance * torch.linalg.norm(expected[name])


def test_what_a_gated_layer_multiplies_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as wide as the gate, and made again on the way back (its gradients: the test above)."""
    made: list[StorageWeakRef] = []

    class Watched(_Gated):
        @staticmethod
        def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
            product = _Gated.forward(ctx, gate, up)
            made.append(StorageWeakRef(product.untyped_storage()))
            return product

    monkeypatch.setattr(products, "_Gated", Watched)
    model = tiny_model().train()
    use_lean_products(model, torch.float32)
    loss = model(input_ids=torch.arange(20)[None], labels=torch.arange(20)[None]).loss
    assert len(made) == 2
    assert all(ref.expired() for ref in made)
    loss.backward()


def test_layers_that_learn_are_left_alone() -> None:
    layer = torch.nn.Linear(4, 4)
    use_lean_products(layer, torch.bfloat16)
    assert "forward" not in vars(layer)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("num_before", [0, 5])
@pytest.mark.parametrize("block", [512, 3])
@pytest.mark.parametrize("kept", [1 << 20, 0], ids=["kept", "computed again"])
def test_attention_written_out_is_torchs_own(causal: bool, num_before: int, block: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer key heads than query heads, after a shared beginning, in one block or several: values and gradients."""
    monkeypatch.setattr(attention, "BLOCK", block)
    monkeypatch.setattr(attention, "MAX_KEPT_BYTES", kept)
    torch.manual_seed(1)
    length = num_before + 7
    shapes = ((1, 6, length, 8), (1, 2, length, 8), (1, 2, length, 8))
    query, key, value = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    segments = [Segment(0, num_before), Segment(num_before, length, (0, num_before))] if num_before else None
    layer: Any = SimpleNamespace(is_causal=causal)
    found = packed_attention(layer, query, key, value, None, segments=segments)[0]
    mask = torch.ones(length, length, dtype=torch.bool).tril() if causal else torch.ones(length, length, dtype=torch.bool)
    mask[:num_before, num_before:] = False  # what begins a row does not see what comes after it
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    upon = torch.randn_like(found)
    for ours, theirs in zip(*(torch.autograd.grad(out, (query, key, value), upon) for out in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_attention_in_bf16_takes_float32_positions() -> None:
    """Rotary positions make queries and keys float32 while values are bfloat16, whatever the length."""
    for length in (6, 1100):
        query, key = torch.randn(1, 2, length, 4), torch.randn(1, 1, length, 4)
        value = torch.randn(1, 1, length, 4).bfloat16()
        out, _ = packed_attention(torch.nn.Module(), query, key, value, None)
        expected = torch.nn.functional.scaled_dot_product_attention(query, key, value.float(), is_causal=True, enable_gqa=True)
        torch.testing.assert_close(out.float(), expected.transpose(1, 2), atol=5e-2, rtol=5e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation_is_transformers_own(dtype: torch.dtype) -> None:
    """Values and gradients, the scale of the queries taken in, with halves whose angles differ."""
    torch.manual_seed(2)
    x = torch.randn(1, 7, 3, 8).to(dtype).requires_grad_()
    cos, sin = torch.randn(1, 7, 8), torch.randn(1, 7, 8)
    found = _Rotated.apply(x, cos, sin, 0.25, dtype)
    expected = apply_rotary_pos_emb(x.float().transpose(1, 2), x.float().transpose(1, 2), cos, sin)[0] * 0.25
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype))
    upon = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad(out, x, upon.to(out.dtype))[0] for out in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_layers_that_are_given_a_mask_heed_it() -> None:
    """A batch with padding: what is behind the mask changes nothing."""
    model = tiny_model().train()
    use_lean_products(model, torch.float32)
    tokens, mask = torch.arange(8).repeat(2, 1) + 3, torch.ones(2, 8, dtype=torch.long)
    mask[0, :3] = 0
    other = tokens.clone()
    other[0, :3] = 50
    one, two = (model(input_ids=ids, attention_mask=mask).logits[:, 3:] for ids in (tokens, other))
    torch.testing.assert_close(one, two)


def test_blocks_cover_a_segment_and_leave_no_small_rest() -> None:
    for length in (1, 127, 128, 256, 383, 384, 541, 2048):
        parts = list(_blocks(Segment(10, 10 + length, (0, 4)), causal=True))
        assert [i for part in parts for i in range(part.here.start, part.here.stop)] == list(range(10, 10 + length))
        assert all(part.num_keys == 4 + part.here.stop - 10 for part in parts)
        assert len(parts) == 1 or min(part.here.stop - part.here.start for part in parts) >= attention.BLOCK // 2
