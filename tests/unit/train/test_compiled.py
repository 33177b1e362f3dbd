"""Compiled layers and losses give the values and gradients of those that transformers wrote."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForPreTraining, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from noria.testing.tiny_training import tiny_model
from noria.train import compiled as module
from noria.train.adapters import base_of
from noria.train.attention import Rows, Segment, mask_of, use_packed_attention
from noria.train.compiled import can_compile, compiles, use_compiled_layers
from noria.train.dropout import use_dropout
from noria.train.output import summed_loss
from noria.train.products import use_lean_products

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not can_compile(), reason="there is no C++ compiler"),
]


def tiny_gpt2() -> Any:
    torch.manual_seed(0)
    still: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=97, n_positions=128, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2, **still)).eval()


def tiny_bert() -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
    model: Any = BertForPreTraining(BertConfig(vocab_size=97, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes)).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(0.3 * torch.randn(parameter.shape))  # biases, and what norms scale by
    return model


def hidden_and_gradients(model: Any, rows: Any = None, length: int = 20) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.train()
    model.zero_grad()
    hidden = model.base_model(input_ids=torch.arange(length)[None] * 7 % 60, use_cache=False, segments=rows or Rows(10)).last_hidden_state
    hidden.square().sum().backward()
    return hidden, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def two_documents() -> Rows:
    """Two rows of ten tokens; in the second a document begins at its fourth."""
    sees = torch.ones(2, 10, 10, dtype=torch.bool).tril()
    sees[1, 3:, :3] = False
    return Rows(10, mask_of(sees))


SEGMENTS = {"rows": Rows(10), "documents": two_documents(), "prefix": [Segment(0, 8), Segment(8, 12, (0, 8)), Segment(12, 20, (0, 8))]}


@pytest.mark.parametrize("made", [tiny_model, tiny_bert])
def test_layers_that_are_to_be_computed_again_are(monkeypatch: pytest.MonkeyPatch, made: Callable[[], Any]) -> None:
    model, times = made(), []
    use_packed_attention(model)
    _, expected = hidden_and_gradients(copy.deepcopy(model))
    assert use_compiled_layers(model, torch.float32, 0.0)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    monkeypatch.setattr(module, "draws", lambda *_: times.append(1))
    _, gradients = hidden_and_gradients(model)
    assert len(times) == 2 * 2 * model.config.num_hidden_layers, "twice a layer, forward and on the way back"
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("segments", SEGMENTS)
@pytest.mark.parametrize("made", [tiny_model, tiny_gpt2, tiny_bert])
def test_layers_compute_the_same(made: Callable[[], Any], segments: str) -> None:
    model, rows = made(), SEGMENTS[segments]
    use_packed_attention(model)
    expected, expected_gradients = hidden_and_gradients(copy.deepcopy(model), rows)
    assert use_compiled_layers(model, torch.float32, 0.0)
    hidden, gradients = hidden_and_gradients(model, rows)
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
    assert set(gradients) == set(expected_gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-4, rtol=1e-4)


def filled_up(count: int) -> Rows:
    """Rows of ten places, of which the tokens of the first take seven."""
    own = torch.ones(count, 10, 10, dtype=torch.bool)
    own[0, :, 7:] = False
    return Rows(10, mask_of(own))


def test_an_encoder_computes_in_bf16_what_it_computed() -> None:
    """What is compiled is no further from float32 than what transformers computes in bf16."""
    compiled, plain = tiny_bert(), tiny_bert()
    for one in (compiled, plain):
        use_packed_attention(one)
    exact, exact_gradients = hidden_and_gradients(plain, filled_up(2))
    exact_gradients = {name: gradient.clone() for name, gradient in exact_gradients.items()}
    assert use_compiled_layers(compiled, torch.bfloat16, of_any_length=True)
    errors = []
    with torch.autocast("cpu", torch.bfloat16):
        rows = filled_up(2)
        for one in (plain, compiled):
            hidden, gradients = hidden_and_gradients(one, rows)
            assert hidden.dtype == torch.float32
            off = sum(float((gradients[name] - gradient).square().sum()) for name, gradient in exact_gradients.items())
            errors.append((float((hidden - exact).norm()), off**0.5))
    for theirs, ours in zip(*errors, strict=True):
        assert 0 < ours < 1.3 * theirs


def adapted(model: Any, seed: int = 0, **settings: Any) -> Any:
    """Every matrix with an adapter whose values are drawn, products with frozen weights as in tuning."""
    torch.manual_seed(seed)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": names, "init_lora_weights": False, "task_type": "CAUSAL_LM", **settings})
    learning = get_peft_model(model, lora)
    use_lean_products(learning, torch.float32)
    return learning


def tiny_qwen2() -> Any:
    """Biases on queries, keys and values."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    model: Any = Qwen2ForCausalLM(Qwen2Config(vocab_size=97, max_position_embeddings=128, **sizes)).eval()
    for layer in model.model.layers:
        layer.self_attn.k_proj.bias.data.normal_()
    return model


def frozen(model: Any) -> Any:
    """Only the embeddings learn, as where a prompt does."""
    model.requires_grad_(False).get_input_embeddings().requires_grad_(True)
    return model


LEARNING: dict[str, Callable[[], Any]] = {
    "all": tiny_qwen2,
    "adapters": lambda: adapted(tiny_qwen2()),
    "frozen": lambda: frozen(tiny_model()),
    "encoder": tiny_bert,
}


@pytest.mark.parametrize("kind", LEARNING)
def test_rows_of_any_length_compute_the_same_and_are_compiled_once(kind: str) -> None:
    model, plain = LEARNING[kind](), LEARNING[kind]()
    for one in (model, plain):
        use_packed_attention(base_of(one))
    assert use_compiled_layers(base_of(model), torch.float32, of_any_length=True)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for length in (20, 13, 7, 16, 30, 20):
        segments = [Segment(0, 5), Segment(5, length)] if length % 10 else filled_up(length // 10)
        expected, expected_gradients = hidden_and_gradients(base_of(plain), segments, length)
        hidden, gradients = hidden_and_gradients(base_of(model), segments, length)
        torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)
        assert set(gradients) == set(expected_gradients)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-4 * max(1.0, float(gradient.abs().max())), rtol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2, "before attention, and after it"


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"target_modules": ["q_proj", "v_proj"]}, {"layers_to_transform": [1]}])
def test_adapters_of_another_kind_are_not_compiled(settings: dict[str, Any]) -> None:
    assert not use_compiled_layers(base_of(adapted(tiny_model(), **settings)), torch.float32, of_any_length=True)


def test_a_compiler_that_fails_costs_speed_and_not_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    model = tiny_model()
    use_packed_attention(model)
    expected = hidden_and_gradients(copy.deepcopy(model), [Segment(0, 20)])[0]
    assert use_compiled_layers(model, torch.float32, of_any_length=True)
    with torch._inductor.config.patch({"cpp.cxx": ("/bin/false",), "force_disable_caches": True}):
        hidden = hidden_and_gradients(model, [Segment(0, 20)])[0]
    torch.testing.assert_close(hidden, expected)
    torch._dynamo.reset()


def test_a_base_that_leaves_out_attention_is_not_compiled() -> None:
    model = tiny_model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    assert not use_compiled_layers(model, torch.float32)
    encoder = tiny_bert()
    encoder.bert.encoder.layer[1].output.dropout.p = 0.1
    assert not use_compiled_layers(encoder, torch.float32)


@pytest.mark.parametrize(
    ("made", "weight"), [(tiny_model, "model.layers.0.self_attn.q_proj.weight"), (tiny_bert, "bert.encoder.layer.0.attention.self.query.weight")]
)
def test_dropout_reaches_compiled_layers_by_the_seed(made: Callable[[], Any], weight: str) -> None:
    found = []
    for share, seed in ((0.5, 1), (0.5, 1), (0.5, 2), (0.0, 1)):
        model: Any = made()
        use_packed_attention(model)
        assert use_compiled_layers(model, torch.float32, share)
        torch.manual_seed(seed)
        hidden, gradients = hidden_and_gradients(model)
        found.append((hidden, gradients[weight]))
    first, again, other, without = found
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    for another in (other, without):
        assert not any(torch.allclose(*pair) for pair in zip(first, another, strict=True))


def test_recomputed_layers_draw_what_they_drew_before() -> None:
    found = []
    for again in (False, True):
        model: Any = tiny_model()
        use_packed_attention(model)
        use_dropout(model, 0.5)
        if again:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(1)
        found.append(hidden_and_gradients(model)[1])
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_loss_over_the_vocabulary_is_the_same() -> None:
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(30, 8), torch.randn(40, 8), torch.randint(40, (30,))
    found = []
    for compiled in (False, True):
        inputs = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
        loss = summed_loss(*inputs, targets, compiled)
        found.append([loss, *torch.autograd.grad(loss, inputs)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_what_is_compiled_by_itself() -> None:
    assert compiles(None, 60)
    assert not compiles(None, 5)
    assert not compiles(None, None)
    assert compiles(True, None)
