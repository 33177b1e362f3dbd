"""Dropout reaches every way into the residual stream, and only while the model trains."""

from typing import Any

import pytest
import torch

from noria.model import Shape, make_config, new_model
from noria.train.dropout import use_dropout

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
