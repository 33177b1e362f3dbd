"""A learnt prompt is an ordinary model in the end: tokens of its own before every conversation, rows that learnt, nothing else changed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from noria.errors import ConfigError
from noria.model import BaseModel, load_tokenizer, resolve, soft_ids, with_soft_tokens
from noria.model.render import Renderer
from noria.schema import Message
from noria.testing.tiny_training import tiny_examples, tiny_model
from noria.train import Supervised, TuneConfig, train
from noria.train.soft_prompt import add_soft_prompt, keep_soft_prompt, learn_soft_prompt

HELLO = (Message(role="user", content="hello"),)


def smollm() -> BaseModel:
    return resolve("smollm2-135m")


def test_soft_tokens_stand_first_in_prompt_and_example(tmp_path: Path) -> None:
    plain = load_tokenizer(smollm().path)
    extended = with_soft_tokens(plain, 3)
    assert soft_ids(plain) == ()
    assert soft_ids(extended) == tuple(range(plain.vocab_size, plain.vocab_size + 3))
    asked = Renderer(extended).prompt(HELLO)
    assert asked == [*soft_ids(extended), *Renderer(plain).prompt(HELLO)]
    assert Renderer(extended, "template").prompt(HELLO)[:3] == asked[:3]
    extended.save(tmp_path)
    assert Renderer(load_tokenizer(tmp_path)).prompt(HELLO) == asked
    assert extended.decode(asked) == plain.decode(Renderer(plain).prompt(HELLO))


def test_only_the_vectors_learn_and_their_logits_are_zero(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(smollm().path)
    model = tiny_model()
    model.resize_token_embeddings(tokenizer.vocab_size)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    extended = add_soft_prompt(model, tokenizer, 4, seed=0)
    ids = torch.tensor([[*soft_ids(extended), 5, 6, 7]])
    learning = learn_soft_prompt(model)
    assert [name for name, p in learning.named_parameters() if p.requires_grad] == ["model.embed_tokens.soft_prompt"]
    with torch.no_grad():
        model.get_input_embeddings().soft_prompt += 0.3
        hooked = model(input_ids=ids).logits
    plain = keep_soft_prompt(learning)
    torch.testing.assert_close(plain(input_ids=ids).logits, hooked, atol=1e-4, rtol=0)
    assert (plain(input_ids=ids).logits[..., list(soft_ids(extended))] == 0).all()
    after = dict(plain.named_parameters())
    assert all(torch.equal(value, after[name][: len(value)]) for name, value in before.items())


def test_a_learnt_prompt_is_not_written_over() -> None:
    tokenizer = with_soft_tokens(load_tokenizer(smollm().path), 3)
    with pytest.raises(ConfigError, match="has a learnt prompt already"):
        add_soft_prompt(tiny_model(), tokenizer, 3, seed=0)


def test_a_prompt_learns(tmp_path: Path) -> None:
    model, tokenizer = tiny_model(), load_tokenizer(smollm().path)
    model.resize_token_embeddings(tokenizer.vocab_size)
    extended = add_soft_prompt(model, tokenizer, 6, seed=0)
    begin = soft_ids(extended)
    examples = [replace(e, sequences=((*begin, *e.sequences[0]),), weights=((*(0.0 for _ in begin), *e.weights[0]),)) for e in tiny_examples()]
    config = TuneConfig(method="prompt", epochs=20, learning_rate=0.1, batch_tokens=256, threads=1)
    result = train(model, examples, [Supervised()], config, tmp_path)
    assert result.metrics["last_loss"] < result.metrics["first_loss"]
