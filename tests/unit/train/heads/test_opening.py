"""How much a base model reads is read from its configuration and its code."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from noria.train.heads.opening import num_positions

BEHIND_PADDING = (
    "roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl", "roberta-prelayernorm", "data2vec-text", "ibert", "luke", "esm",
    "markuplm",
)  # fmt: skip


@pytest.mark.parametrize("kind", [*BEHIND_PADDING, "bert", "electra", "distilbert", "deberta-v2", "albert", "gpt2"])
def test_a_base_reads_as_many_tokens_as_are_said_and_no_more(kind: str) -> None:
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}
    own: dict[str, Any] = {"luke": {"entity_emb_size": 32}, "longformer": {"attention_window": 4}}.get(kind, {})
    settings = AutoConfig.for_model(kind, **sizes, **own, max_position_embeddings=24, pad_token_id=1)
    readable = num_positions(settings)
    assert readable == (22 if kind in BEHIND_PADDING else 24)
    model = AutoModel.from_config(settings).eval()
    with torch.no_grad():
        model(input_ids=torch.full((1, readable), 5), attention_mask=torch.ones(1, readable, dtype=torch.long))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, readable + 1), 5), attention_mask=torch.ones(1, readable + 1, dtype=torch.long))
