"""Dropout reaches every way into the residual stream, and only while the model trains."""

from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel

from noria.model import Shape, make_config, new_model
from noria.train import dropout as module
from noria.train.dropout import draw_faster, draws, dropped, use_dropout

WRITERS = {"llama": 5, "gpt2": 5, "bert": 5, "modernbert": 5, "t5": 11}
"""The embeddings and, for each of two layers, attention and feed-forward; T5 has two stacks, and attention across in the second."""


@pytest.mark.parametrize("architecture", list(WRITERS))
def test_every_way_into_the_stream_is_dropped(architecture: Any) -> None:
    shape = Shape(width=16, num_layers=2, num_heads=2, context=32)
    model: Any = new_model(make_config(architecture, shape, 60, {"bos": 2, "eos": 3, "pad": 0}), 0)
    tokens = {"input_ids": torch.tensor([[5, 6, 7, 8]])} | ({"decoder_input_ids": torch.tensor([[0, 5]])} if architecture == "t5" else {})
    before = model.eval()(**tokens)[0]
    use_dropout(model, 0.5)
    assert sum(len(module._forward_hooks) for module in model.modules()) == WRITERS[architecture]
    torch.testing.assert_close(model.eval()(**tokens)[0], before)
    assert not torch.allclose(model.train()(**tokens)[0], before)


def test_the_dropout_that_a_model_has_is_drawn_here_while_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32))
    tokens = torch.tensor([[5, 6, 7, 8]])
    before = model.eval()(tokens).last_hidden_state
    draw_faster(model)
    times: list[float] = []
    monkeypatch.setattr(module, "draws", lambda like, share: (times.append(share), draws(like, share))[1])
    torch.testing.assert_close(model.eval()(tokens).last_hidden_state, before)
    assert not times
    assert not torch.allclose(model.train()(tokens).last_hidden_state, before)
    assert times == [0.1] * 5, "the embeddings and, for each of two layers, attention and feed-forward"


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_is_left_out_the_sum_stays_and_the_seed_says_what(share: float) -> None:
    x = torch.ones(300, 333)
    torch.manual_seed(1)
    kept = draws(x, share)
    assert kept is not None
    out = dropped(x, kept, share)
    assert abs(float((out == 0).float().mean()) - share) < 0.01
    assert float(out.max()) == pytest.approx(256 / (256 - round(share * 256)))
    assert abs(float(out.mean()) - 1) < 0.01
    torch.manual_seed(1)
    again = draws(x, share)
    assert again is not None
    assert bool((again == kept).all())
    other = draws(x, share)
    assert other is not None
    assert abs(float((other == kept).float().mean()) - (share**2 + (1 - share) ** 2)) < 0.01  # independent of one another


@pytest.mark.parametrize(("share", "drawn"), [(0.0001, 1 / 256), (0.999, 255 / 256)])
def test_shares_at_the_ends_are_those_nearest_that_can_be_drawn(share: float, drawn: float) -> None:
    x = torch.ones(1000, 1000)
    torch.manual_seed(1)
    out = dropped(x, draws(x, share), share)
    assert float((out == 0).float().mean()) == pytest.approx(drawn, abs=0.001)
    assert float(out.max()) == pytest.approx(1 / (1 - drawn))


def test_in_bfloat16_the_sum_stays_too() -> None:
    x = torch.randn(1000, 1000).abs().to(torch.bfloat16)
    torch.manual_seed(1)
    ratio = dropped(x, draws(x, 0.1), 0.1).float().sum() / x.float().sum()
    assert float(ratio) == pytest.approx(1, abs=0.0015)


def test_without_a_share_nothing_is_drawn() -> None:
    x = torch.ones(2, 2)
    assert draws(x, 0.0) is None
    assert dropped(x, None, 0.0) is x
