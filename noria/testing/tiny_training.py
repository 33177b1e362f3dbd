"""A Llama of a few thousand weights and examples for it, so that properties of the training loop are checked in milliseconds."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from noria.train import Example


def tiny_model(seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def tiny_examples(count: int = 12, seed: int = 1) -> list[Example]:
    """Sequences of different lengths that count upwards; the second half of each is learnt."""
    generator = torch.Generator().manual_seed(seed)
    out: list[Example] = []
    for _ in range(count):
        length = int(torch.randint(4, 20, (1,), generator=generator))
        start = int(torch.randint(0, 70, (1,), generator=generator))
        tokens = tuple((start + i) % 97 for i in range(length))
        weights = tuple(float(i >= length // 2) for i in range(length))
        out.append(Example(objective="supervised", sequences=(tokens,), weights=(weights,)))
    return out
