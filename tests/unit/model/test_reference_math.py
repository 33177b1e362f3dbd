"""The mathematics of the Transformer, written out from the papers' formulas, against the layers of the library that models are made of.

Vaswani et al. 2017: (1) attention, 3.2.2 several heads, (2) the position-wise feed-forward layer, 3.5 sinusoidal positions. Su et al. 2021: (34)
rotary positions. Shazeer 2020: the gated feed-forward layer. Zhang and Sennrich 2019: (4) the norm by root mean square.
"""

import math

import torch
from transformers import BertConfig, LlamaConfig
from transformers.models.bert.modeling_bert import BertIntermediate, BertOutput, BertSelfAttention
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm, LlamaRotaryEmbedding

from noria.model import Shape, make_config, new_model

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
WIDTH, HEADS, TIME = 24, 3, 7


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool) -> torch.Tensor:
    """softmax(Q K^T / sqrt(d)) V: query, key, value (time, d)."""
    scores = query @ key.T / math.sqrt(query.shape[-1])
    if causal:
        future = torch.arange(len(key))[None] > torch.arange(len(query))[:, None]
        scores = scores.masked_fill(future, -math.inf)
    weights = torch.exp(scores - scores.max(dim=-1, keepdim=True).values)
    return weights / weights.sum(dim=-1, keepdim=True) @ value


def heads_of(x: torch.Tensor, count: int) -> list[torch.Tensor]:
    """(time, width) as `count` parts (time, width / count)."""
    return list(x.split(x.shape[-1] // count, dim=-1))


def rotary(x: torch.Tensor, base: float) -> torch.Tensor:
    """Dimension i turns with dimension i + d/2 by position times base^(-2i/d): x (time, d)."""
    half = x.shape[-1] // 2
    out = torch.empty_like(x)
    for position in range(len(x)):
        for i in range(half):
            angle = position * base ** (-2 * i / x.shape[-1])
            a, b = x[position, i], x[position, i + half]
            out[position, i] = a * math.cos(angle) - b * math.sin(angle)
            out[position, i + half] = b * math.cos(angle) + a * math.sin(angle)
    return out


def sinusoidal(num_positions: int, width: int) -> torch.Tensor:
    """PE(pos, 2i) = sin(pos / 10000^(2i/width)), PE(pos, 2i+1) = cos of the same."""
    rows = [
        [math.sin(p / 10000 ** (i / width)) if i % 2 == 0 else math.cos(p / 10000 ** ((i - 1) / width)) for i in range(width)]
        for p in range(num_positions)
    ]
    return torch.tensor(rows)


def test_scaled_dot_product_attention() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(TIME, 8) for _ in range(3))
    for causal in (False, True):
        theirs = torch.nn.functional.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=causal)[0]
        torch.testing.assert_close(attention(query, key, value, causal), theirs, **CLOSE)


def test_several_heads_of_an_encoder() -> None:
    torch.manual_seed(0)
    config = BertConfig(hidden_size=WIDTH, num_attention_heads=HEADS, attention_probs_dropout_prob=0.0)
    config._attn_implementation = "eager"  # pyright: ignore[reportPrivateUsage]
    layer = BertSelfAttention(config).eval()
    x = torch.randn(TIME, WIDTH)
    parts = [heads_of(projection(x), HEADS) for projection in (layer.query, layer.key, layer.value)]
    mine = torch.cat([attention(q, k, v, causal=False) for q, k, v in zip(*parts, strict=True)], dim=-1)
    torch.testing.assert_close(mine, layer(x[None])[0][0], **CLOSE)


def test_several_rotated_heads_of_a_decoder_that_share_keys() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=WIDTH, num_attention_heads=6, num_key_value_heads=3, head_dim=4, max_position_embeddings=32)
    config._attn_implementation = "sdpa"  # pyright: ignore[reportPrivateUsage]
    layer = LlamaAttention(config, layer_idx=0).eval()
    x = torch.randn(TIME, WIDTH)
    base = config.rope_parameters["rope_theta"]
    queries = [rotary(head, base) for head in heads_of(layer.q_proj(x), 6)]
    keys = [rotary(head, base) for head in heads_of(layer.k_proj(x), 3)]
    values = heads_of(layer.v_proj(x), 3)
    mine = layer.o_proj(torch.cat([attention(q, keys[i // 2], values[i // 2], causal=True) for i, q in enumerate(queries)], dim=-1))
    positions = LlamaRotaryEmbedding(config)(x[None], torch.arange(TIME)[None])
    theirs, _ = layer(x[None], position_embeddings=positions, attention_mask=None)
    torch.testing.assert_close(mine, theirs[0], **CLOSE)


def test_rotated_products_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(8), torch.randn(8)
    turned = [(rotary(query.repeat(9, 1), 10_000.0)[a] @ rotary(key.repeat(9, 1), 10_000.0)[b]).item() for a, b in ((2, 0), (5, 3), (8, 6))]
    assert max(turned) - min(turned) < 1e-5


def test_position_wise_feed_forward() -> None:
    torch.manual_seed(0)
    config = BertConfig(hidden_size=WIDTH, intermediate_size=40, hidden_act="relu", hidden_dropout_prob=0.0)
    first, second = BertIntermediate(config).eval(), BertOutput(config).eval()
    x = torch.randn(TIME, WIDTH)
    hidden = torch.clamp(x @ first.dense.weight.T + first.dense.bias, min=0)
    mine = second.LayerNorm(x + hidden @ second.dense.weight.T + second.dense.bias)
    torch.testing.assert_close(mine, second(first(x), x), **CLOSE)


def test_gated_feed_forward() -> None:
    torch.manual_seed(0)
    layer = LlamaMLP(LlamaConfig(hidden_size=WIDTH, intermediate_size=40, num_attention_heads=HEADS)).eval()
    x = torch.randn(TIME, WIDTH)
    gate = x @ layer.gate_proj.weight.T
    mine = (gate / (1 + torch.exp(-gate)) * (x @ layer.up_proj.weight.T)) @ layer.down_proj.weight.T
    torch.testing.assert_close(mine, layer(x), **CLOSE)


def test_norms() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(TIME, WIDTH), torch.rand(WIDTH)
    layer = LlamaRMSNorm(WIDTH, eps=1e-6)
    layer.weight.data.copy_(weight)
    torch.testing.assert_close(x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * weight, layer(x), **CLOSE)
    mean = x.mean(-1, keepdim=True)
    mine = (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + 1e-5) * weight
    torch.testing.assert_close(mine, torch.nn.functional.layer_norm(x, (WIDTH,), weight, eps=1e-5), **CLOSE)


def test_sinusoidal_positions() -> None:
    """As the library's speech and translation models make them: sines first, then cosines, of the same angles."""
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding

    width, count = 16, 20
    ours = sinusoidal(count, width)
    theirs = M2M100SinusoidalPositionalEmbedding.get_embedding(count, width)
    angles = [10_000 ** (-i / (width // 2 - 1)) for i in range(width // 2)]  # theirs ends exactly at 1 / 10000
    for i, angle in enumerate(angles):
        torch.testing.assert_close(theirs[:, i], torch.sin(torch.arange(count) * angle), **CLOSE)
        torch.testing.assert_close(theirs[:, width // 2 + i], torch.cos(torch.arange(count) * angle), **CLOSE)
    # The paper's own: a shift by k positions is a rotation of each pair (3.5), whatever the position.
    for shift in (1, 4):
        for i in range(0, width, 2):
            angle = shift / 10_000 ** (i / width)
            sine, cosine = ours[:-shift, i], ours[:-shift, i + 1]
            torch.testing.assert_close(ours[shift:, i], sine * math.cos(angle) + cosine * math.sin(angle), **CLOSE)
            torch.testing.assert_close(ours[shift:, i + 1], cosine * math.cos(angle) - sine * math.sin(angle), **CLOSE)


def test_positions_that_a_new_bert_learns_begin_as_sinusoids() -> None:
    model = new_model(make_config("bert", Shape(width=WIDTH, num_layers=1, num_heads=HEADS, context=TIME), 50, {}), 0)
    positions = model.get_parameter("bert.embeddings.position_embeddings.weight").detach()
    torch.testing.assert_close(positions, sinusoidal(TIME, WIDTH) * math.sqrt(2) * 0.02, **CLOSE)
    words = model.get_parameter("bert.embeddings.word_embeddings.weight").detach()
    assert 0.8 < float(positions.square().mean() / words.square().mean()) < 1.2
