"""A base that rests: its states are computed once, and the head sees what it would see of the base itself."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

from noria.data import ScoreExample, TagExample
from noria.engine.heads import Input, Wrap
from noria.model import Tokenizer, train_tokenizer
from noria.train.heads import Head, states
from noria.train.heads.score import Score
from noria.train.heads.states import resting
from noria.train.heads.tag import Tag

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 60}
TEXTS = ("ab ba", "aab bba ab", "ba", "ab ab ab ba")


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return train_tokenizer("wordpiece", ["ab ba aab bba"] * 30, 60, "mlm-nsp", at_most=True)


def scored(words: Tokenizer, kind: str) -> tuple[Head, Any, list[Input]]:
    head = Score(words, Wrap.of(words, 32), with_kinds=kind == "bert")
    settings = AutoConfig.for_model(kind, **SIZES, num_labels=1, pad_token_id=words.pad_id, max_position_embeddings=40)
    model = AutoModelForSequenceClassification.from_config(settings)
    rows = [ScoreExample(text=text, text_pair="ba" if number % 2 else None, score=number) for number, text in enumerate(TEXTS)]
    return head, model, head.inputs(rows)


def tagged(words: Tokenizer) -> tuple[Head, Any, list[Input]]:
    head = Tag(words, Wrap.of(words, 32), ("B-X", "O"), "BIO")
    model = AutoModelForTokenClassification.from_config(AutoConfig.for_model("bert", **SIZES, num_labels=2))
    return head, model, head.inputs([TagExample(tokens=text.split(), tags=["O"] * len(text.split())) for text in TEXTS])


def losses(head: Head, model: Any, inputs: list[Input]) -> list[float]:
    """Of each input alone, and of all together; the head without its dropout."""
    model.train()
    for module in model.children():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return [float(head.loss(model, part).total.detach()) for part in [*([one] for one in inputs), inputs]]


def num_computed(model: Any) -> list[int]:
    """Grows by one where the first layer of the base computes."""
    calls: list[int] = []
    model.get_input_embeddings().register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama", "distilbert"])
def test_the_head_learns_from_what_the_base_says_without_dropout(words: Tokenizer, kind: str) -> None:
    head, model, inputs = scored(words, kind)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(f"{model.base_model_prefix}.") or "pooler" in name)
    calls = num_computed(model)
    with resting(head, model, inputs) as base:
        assert base is not None
        plain = losses(head, model, inputs)
        before = len(calls)
        base.keep(head, inputs)
        assert len(calls) == before + 1
        kept = losses(head, model, inputs)
        assert len(calls) == before + 1
        head.loss(model, inputs).total.backward()
    assert kept == pytest.approx(plain, rel=2e-2, abs=2e-3)
    learning = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and bool(p.grad.any()) for p in learning)
    model.base_model.eval()
    model.base_model(input_ids=torch.tensor([[5, 6]]))
    assert len(calls) > before + 1, "the base is its own again"


def test_what_does_not_fit_is_computed_each_time(words: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    head, model, inputs = tagged(words)
    monkeypatch.setattr(states, "MAX_KEPT_BYTES", 16 * 2 * len(inputs[2].token_ids))
    monkeypatch.setattr(states, "MAX_TOKENS", 1)
    calls = num_computed(model)
    with resting(head, model, inputs) as base:
        assert base is not None
        plain = losses(head, model, inputs)
        base.keep(head, inputs)
        calls.clear()
        assert losses(head, model, inputs) == pytest.approx(plain, rel=2e-2)
    assert len(calls) == len(inputs)  # the shortest alone was kept: three by themselves, and all together


def test_a_base_that_gives_its_head_something_else_is_left_as_it_is(words: Tokenizer) -> None:
    head, model, inputs = scored(words, "albert")  # its pooler reads the first token alone
    with resting(head, model, inputs) as base:
        assert base is None
        assert "forward" not in vars(model.base_model)
        assert all(torch.isfinite(torch.tensor(losses(head, model, inputs))))
