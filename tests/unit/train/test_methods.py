"""Which weights learn with each method, and what is refused before anything is written."""

import itertools
from typing import Any, get_args

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertForTokenClassification, GPT2Config, GPT2ForSequenceClassification

from noria.data.examples import EXAMPLES
from noria.engine.heads import Wrap
from noria.errors import ConfigError
from noria.model import Tokenizer, train_tokenizer
from noria.train import TuneConfig
from noria.train.config import Method
from noria.train.heads.classify import Classify
from noria.train.heads.pooling import add_mean_layer
from noria.train.heads.tag import TRANSITIONS_NAME, Tag
from noria.train.methods import check_method, chosen, merged, unheeded, with_method
from noria.train.task_config import TaskConfig, TaskMethod

BERT: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 32, "vocab_size": 60}


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return train_tokenizer("wordpiece", ["ab ba aab bba"] * 30, 60, "mlm-nsp", at_most=True)


def classifier(words: Tokenizer, several: bool = False) -> Classify:
    return Classify(words, Wrap.of(words, 32), ("a", "b"), several)


@pytest.mark.parametrize("method", ["lora", "dora", "full", "head"])
def test_the_transitions_that_the_loss_reads_learn_with_every_method(words: Tokenizer, method: Any) -> None:
    head = Tag(words, Wrap.of(words, 32), ("B-X", "I-X", "O"), "BIO", crf=True)
    model = BertForTokenClassification(BertConfig(num_labels=3, **BERT))
    model.add_module(TRANSITIONS_NAME, head.transitions)
    learning = with_method(model, TaskConfig(method=method, rank=2))
    assert all(p.requires_grad for p in head.transitions.parameters())
    assert sum(name.endswith(f"{TRANSITIONS_NAME}.between") for name, _ in learning.named_parameters()) == 1
    assert getattr(merged(learning), TRANSITIONS_NAME) is head.transitions


def test_a_layer_that_means_is_not_the_last_one() -> None:
    model = BertForSequenceClassification(BertConfig(**BERT))
    add_mean_layer(model)
    with_method(model, TaskConfig(top_layers=1))
    learning = {name.split(".")[3] for name, p in model.named_parameters() if p.requires_grad and ".layer." in name}
    assert learning == {"2", "3"}


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_layers_of_gpt2_are_adapted_and_merged(method: Any) -> None:
    torch.manual_seed(0)
    model = GPT2ForSequenceClassification(GPT2Config(n_embd=16, n_head=2, n_layer=2, vocab_size=60, pad_token_id=0)).eval()
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids).logits
    learning = with_method(model, TaskConfig(method=method, rank=2))
    for name, parameter in learning.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = learning.eval()(ids).logits
    assert not torch.allclose(adapted, before, atol=1e-4)
    assert torch.allclose(merged(learning)(ids).logits, adapted, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "several", "told"),
    [
        ({"top_layers": 4}, False, "`top_layers` is 4, but the model has 3 layers"),
        ({"class_weights": "balanced"}, True, "`class_weights` is for rows with one label"),
        ({"method": "contrast"}, True, "`--method contrast` is for rows with one label"),
        ({"method": "contrast", "patience": 2}, False, "`patience` is not heeded by `--method contrast`"),
        ({"method": "head", "dropout": 0.1}, False, "`dropout` is not heeded by `--method head` for classify. Leave it out"),
        ({"method": "head", "epochs": 2.0}, False, "`epochs` is not heeded"),
        ({"method": "head", "label_smoothing": 0.1}, False, "`label_smoothing` is not heeded"),
        ({"crf": False}, False, "`crf` is not heeded by `--method full` for classify"),
        ({"rank": 8}, False, "`rank` is not heeded by `--method full`"),
        ({"out_of_scope": True}, True, "`out_of_scope` is for rows with one label each"),
        ({"top_layers": 1, "embeddings": True}, False, "`embeddings` is not heeded beside `top_layers`"),
    ],
)
def test_settings_that_cannot_be_are_refused(words: Tokenizer, settings: Any, several: bool, told: str) -> None:
    model = BertForSequenceClassification(BertConfig(**BERT))
    add_mean_layer(model)
    with pytest.raises(ConfigError, match=told):
        check_method(TaskConfig(**settings), classifier(words, several), model)


@pytest.mark.parametrize("settings", [{"label_smoothing": 0.1}, {"class_weights": "balanced"}])
def test_what_transitions_do_not_heed_is_refused_beside_them(words: Tokenizer, settings: Any) -> None:
    model = BertForTokenClassification(BertConfig(num_labels=3, **BERT))
    heads = {crf: Tag(words, Wrap.of(words, 32), ("B-X", "I-X", "O"), "BIO", crf=crf) for crf in (True, False)}
    with pytest.raises(ConfigError, match=f"`{next(iter(settings))}` is not heeded where transitions between tags are learnt. Set `crf=false`"):
        check_method(TaskConfig(**settings), heads[True], model)
    check_method(TaskConfig(crf=False, **settings), heads[False], model)


def test_what_may_not_be_heeded_is_a_setting() -> None:
    settings = TaskConfig.model_fields.keys() | TuneConfig.model_fields.keys()
    pairs = itertools.product(EXAMPLES, (*get_args(TaskMethod), *get_args(Method)))
    assert {name for pair in pairs for name in unheeded(*pair)} < settings
    assert unheeded("classify", "head") >= {"patience", "dropout", "label_smoothing", "epochs"}
    assert not unheeded("classify", "head") & {"class_weights", "label_names", "max_tokens", "precision", "seed"}


def test_what_was_chosen_is_one_sentence() -> None:
    told = chosen("minilm", "full", {"learning_rate": 9.84e-5, "batch": 32, "precision": "float32"})
    assert told == "Method full on 'minilm': `learning_rate` 9.8e-05, `batch` 32, `precision` float32."


def test_adapters_need_layers_to_adapt(words: Tokenizer) -> None:
    model = BertForSequenceClassification(BertConfig(**BERT))
    model.bert.encoder.layer = torch.nn.ModuleList([torch.nn.Identity()])
    model.config.num_hidden_layers = 1
    model.config.model_type = "other"
    with pytest.raises(ConfigError, match="adapts linear layers"):
        check_method(TaskConfig(method="lora"), classifier(words), model)
