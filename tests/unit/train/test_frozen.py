"""Frozen lower layers are computed once a sequence; losses and gradients are those of the whole decoder."""

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from noria.errors import ModelError
from noria.testing.tiny_training import tiny_model
from noria.train import Example, Supervised
from noria.train import frozen as module
from noria.train.attention import use_packed_attention
from noria.train.frozen import TopLayers

BEGINNING = (3, 5, 7, 9)


def examples() -> list[Example]:
    tails = ((11, 12, 13), (21, 22, 23, 24, 25), (31, 32))
    together = [BEGINNING + tail for tail in tails] + [(40, 41, 42, 43)]
    return [
        Example(
            objective="supervised",
            sequences=(tokens,),
            weights=(tuple(float(i >= 4 or tokens[0] == 40) for i in range(len(tokens))),),
            prefix=4 if tokens[0] == 3 else 0,
        )
        for tokens in together
    ]


def upper_gradients(model: torch.nn.Module, learner: object) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = Supervised().loss(learner, examples()).total
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if ".layers.1." in name and p.grad is not None}


@pytest.mark.parametrize("kept_bytes", [1 << 20, 0])
def test_loss_and_gradients_are_those_of_the_whole_decoder(monkeypatch: pytest.MonkeyPatch, kept_bytes: int) -> None:
    monkeypatch.setattr(module, "MAX_KEPT_BYTES", kept_bytes)
    model = tiny_model()
    use_packed_attention(model)
    names = [name for name, _ in model.named_parameters()]
    whole_loss, whole = upper_gradients(model, model)
    learner = TopLayers(model, 1)
    for _ in range(2):  # first met, then known
        loss, gradients = upper_gradients(model, learner)
        assert loss == pytest.approx(whole_loss, rel=1e-5)
        assert gradients.keys() == whole.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, whole[name], atol=1e-5, rtol=1e-4)
    assert [name for name, _ in model.named_parameters()] == names


def test_a_known_sequence_does_not_go_through_the_lower_layers_again() -> None:
    model = tiny_model()
    use_packed_attention(model)
    passes = []
    learner = TopLayers(model, 1)
    model.get_decoder().layers[0].register_forward_hook(lambda *_: passes.append(1))
    Supervised().loss(learner, examples())
    first = len(passes)
    Supervised().loss(learner, examples())
    assert first == len(passes) == 5  # four sequences and their shared beginning


def test_a_decoder_that_adds_positions_before_its_layers_is_refused() -> None:
    """They would be added twice."""
    sizes = {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "word_embed_proj_dim": 16}
    model = OPTForCausalLM(OPTConfig(vocab_size=60, max_position_embeddings=64, **sizes)).eval()
    use_packed_attention(model)
    with pytest.raises(ModelError, match="'opt' cannot be parted for `top_layers`"):
        TopLayers(model, 1)
