"""Texts cut, paired and windowed to what a model reads."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoTokenizer

from noria.data import AnswerExample, ClassifyExample
from noria.engine.heads import HeadFile, Wrap, windows
from noria.model import Tokenizer, load_tokenizer, train_tokenizer
from noria.train.heads.answer import Answer
from noria.train.heads.classify import Classify
from noria.train.heads.opening import head_file, num_positions


@given(length=st.integers(0, 200), room=st.integers(2, 50), stride=st.integers(0, 60))
def test_windows_cover_everything_and_none_is_too_long(length: int, room: int, stride: int) -> None:
    found = windows(length, room, stride)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(end - start <= room for start, end in found)
    assert all(a[1] >= b[0] + min(stride, room // 2) for a, b in itertools.pairwise(found))
    assert {i for start, end in found for i in range(start, end)} == set(range(length))


@given(first=st.integers(0, 40), second=st.integers(0, 40))
def test_a_pair_fits_and_keeps_what_it_can(first: int, second: int) -> None:
    wrap = Wrap(begin=(1,), between=(2,), end=(2,), num_positions=23)
    ids, kinds = wrap.pair([7] * first, [8] * second)
    assert len(ids) == len(kinds) <= 23
    assert ids.count(7) + ids.count(8) == min(first + second, 20)
    assert all(kind == (0 if token == 7 else 1) for token, kind in zip(ids, kinds, strict=True) if token in (7, 8))


@pytest.fixture(params=["bert", "roberta"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tokenizer as BERT's, with one token between two texts, or as RoBERTa's, with two."""
    if request.param == "bert":
        train_tokenizer("wordpiece", ["ab ba aab bba"] * 30, 60, "mlm-nsp", at_most=True).save(tmp_path)
        return tmp_path
    full = FastTokenizer(models.BPE({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a": 4, "b": 5}, [], unk_token="<unk>"))
    full.pre_tokenizer = pre_tokenizers.Whitespace()
    full.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    full.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    roles = {"cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
    Tokenizer(full, "</s>", "<pad>", "<s>", roles=roles).save(tmp_path)
    return tmp_path


def test_a_pair_is_what_transformers_makes_of_it(folder: Path) -> None:
    words, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    head = Classify(words, Wrap.as_trained(words, 32), ("x", "y"))
    pair, long, single = (ClassifyExample(text=text, text_pair=other) for text, other in (("ab ba", "aab"), ("ab " * 40, "ba"), ("ab", None)))
    [one, cut, alone] = head.inputs([pair, long, single])
    assert list(one.token_ids) == theirs(pair.text, pair.text_pair)["input_ids"]
    assert list(cut.token_ids) == theirs(long.text, long.text_pair, truncation="longest_first", max_length=32)["input_ids"]
    assert list(alone.token_ids) == theirs(single.text)["input_ids"]
    assert len(one.kinds) == len(one.token_ids)


def test_the_context_of_an_answer_begins_behind_what_parts_the_texts(folder: Path) -> None:
    words, theirs = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    row = AnswerExample.model_validate({"question": "ab", "context": "ba ab", "answers": {"text": ["ba"], "answer_start": [0]}})
    [one] = Answer(words, Wrap.as_trained(words, 32)).inputs([row])
    assert list(one.token_ids) == theirs(row.question, row.context)["input_ids"]
    assert (one.places[one.target[0]][0], one.places[one.target[1]][1]) == (0, 2)


def test_folders_that_do_not_say_what_parts_texts_are_asked_as_they_were_tuned(folder: Path) -> None:
    words = load_tokenizer(folder)
    head = Classify(words, Wrap.as_trained(words, 32), ("x", "y"))
    told = head_file(head).model_dump()
    pair = [ClassifyExample(text="ab", text_pair="ba")]
    assert HeadFile(**told).reader(words, None).inputs(pair)[0].token_ids == head.inputs(pair)[0].token_ids
    before = HeadFile(**{name: value for name, value in told.items() if name != "between"}).reader(words, None)
    assert before.inputs(pair)[0].token_ids.count(words.role_id("sep_token")) == 2


def test_a_tokenizer_without_a_post_processor_parts_texts_by_what_ends_one() -> None:
    words = train_tokenizer("bpe", ["ab ba"] * 30, 300, "clm", at_most=True)
    assert Wrap.as_trained(words, 32).between == (words.eos_id,)


def test_a_stride_as_long_as_the_room_makes_no_window_for_every_token() -> None:
    assert len(windows(400, 61, 64)) < 30


@pytest.mark.parametrize(("kind", "readable"), [("roberta", 512), ("bert", 514)])
def test_positions_that_are_numbered_behind_the_padding_are_fewer(kind: str, readable: int) -> None:
    config = AutoConfig.for_model(kind, vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    config.update({"max_position_embeddings": 514, "pad_token_id": 1})
    model = AutoModel.from_config(config)
    assert model(input_ids=torch.full((1, readable), 5)).last_hidden_state.shape[1] == readable
    assert num_positions(config) == readable
