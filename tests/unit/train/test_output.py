"""The output layer's loss is cross-entropy, and so are its gradients."""

from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from transformers import AutoModelForCausalLM, CohereConfig, GPT2Config, GraniteConfig, OPTConfig, PhiConfig, PretrainedConfig

from noria.testing.tiny_training import tiny_model
from noria.train import output
from noria.train.attention import pack_row, use_packed_attention


@pytest.mark.parametrize("chunk_bytes", [32 << 20, 4 * 11 * 16])
def test_loss_and_gradients_are_those_of_cross_entropy(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(output, "CHUNK_BYTES", chunk_bytes)
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(50, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True), torch.randint(0, 11, (50,))
    mine = output.summed_loss(hidden, weight, targets) / 7
    found = torch.autograd.grad(mine, (hidden, weight))
    theirs = functional.cross_entropy(hidden @ weight.T, targets, reduction="sum") / 7
    torch.testing.assert_close(mine, theirs)
    for a, b in zip(found, torch.autograd.grad(theirs, (hidden, weight)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_without_gradients_the_loss_is_the_same() -> None:
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(9, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True), torch.randint(0, 5, (9,))
    with torch.no_grad():
        scored = output.summed_loss(hidden, weight, targets)
    torch.testing.assert_close(scored, output.summed_loss(hidden, weight, targets).detach())


SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    "config",
    [
        GraniteConfig(**SIZES, logits_scaling=8.0),
        CohereConfig(**SIZES, logit_scale=0.25),
        PhiConfig(**SIZES),  # its output layer has a bias
        GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=64),
        OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=8),
    ],
    ids=lambda config: config.model_type,
)
def test_log_probabilities_are_those_of_the_models_own_logits(monkeypatch: pytest.MonkeyPatch, config: PretrainedConfig) -> None:
    """Whatever a model does between its hidden states and its logits, in whatever parts they are made."""
    monkeypatch.setattr(output, "CHUNK_BYTES", 4 * 60 * 16)
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    tokens = [int(token) for token in torch.randint(3, 60, (40,))]
    logits = model(input_ids=torch.tensor([tokens])).logits[0, :-1].float()
    theirs = logits.log_softmax(-1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    factors = torch.randn(39)
    (theirs * factors).sum().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    use_packed_attention(model)
    found = output.token_logprobs(model, pack_row([tokens], [[1.0] * 40], [0]))
    torch.testing.assert_close(found, theirs, atol=1e-5, rtol=1e-5)
    (found * factors).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted.get(name), atol=1e-4, rtol=1e-4)


def test_no_logits_are_kept_for_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[StorageWeakRef] = []
    own = functional.cross_entropy

    def watched(logits: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        made.append(StorageWeakRef(logits.untyped_storage()))
        return own(logits, *arguments, **named)

    monkeypatch.setattr(output, "CHUNK_BYTES", 1)
    monkeypatch.setattr(functional, "cross_entropy", watched)
    model = tiny_model()
    use_packed_attention(model)
    tokens = list(range(3, 43))
    found = output.token_logprobs(model, pack_row([tokens], [[1.0] * 40], [0]))
    assert len(made) == 3
    assert all(ref.expired() for ref in made)
    found.sum().backward()
