"""A tagger's inputs and losses, of rows longer than a window and of tokens that are nothing to the tokenizer."""

from typing import Any

import pytest
import tokenizers
import torch
from transformers.utils import ModelOutput

from noria.data import TagExample
from noria.engine.heads import Wrap
from noria.model import Tokenizer, train_tokenizer
from noria.train.heads import outputs_of
from noria.train.heads.classify import balanced
from noria.train.heads.tag import Tag

TAGS = ("B-X", "E-X", "M-X", "O", "S-X")


class Even:
    """A model that holds every tag for as likely as every other."""

    device = torch.device("cpu")

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        return ModelOutput(logits=torch.zeros(*input_ids.shape, len(TAGS)))


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return train_tokenizer("wordpiece", ["ab ba aab bba"] * 30, 60, "mlm-nsp", at_most=True)


@pytest.mark.parametrize("num_tokens", [200, 3])
def test_entities_over_the_borders_of_windows_are_no_paths_that_never_are(words: Tokenizer, num_tokens: int) -> None:
    head = Tag(words, Wrap.of(words, 64), TAGS, "BMES", crf=True, stride=16)
    row = TagExample(tokens=("ab",) * num_tokens, tags=("B-X", *["M-X"] * (num_tokens - 2), "E-X"))
    inputs = head.inputs([row])
    assert (inputs[0].whole[0], inputs[-1].whole[1]) == (True, True)
    assert not any(one.whole[0] for one in inputs[1:])
    assert float(head.loss(Even(), inputs).total.detach()) / head.weight(inputs) < 10


def test_characters_are_read_as_themselves_where_every_text_begins_with_a_space() -> None:
    """SentencePiece's tokenizers begin each text with a piece for the space before it, at which the tags of all characters would stand."""
    texts = ["北京大学的王先生", "他在上海工作", "a long day"] * 30
    pieces = train_tokenizer("unigram", texts, 120, "denoise", at_most=True)
    tokens = ("他", "在", "北", "京", "long")
    alone = [pieces.encode(token) for token in tokens]
    assert all(len(ids) == 2 and ids[0] == alone[0][0] for ids in alone[:4]), "what the tokenizer makes of a character by itself"
    (one,) = Tag(pieces, Wrap.of(pieces, 64), TAGS, "BMES").inputs([TagExample(tokens=tokens, tags=("O",) * 5)])
    read = [one.token_ids[place] for place, word in enumerate(one.places) if word is not None]
    assert read[:4] == [ids[1] for ids in alone[:4]]
    assert len(set(read[:4])) == 4
    assert pieces.decode([token for token in one.token_ids if token not in pieces.special_ids]).replace(" ", "") == "他在北京long"


def test_a_space_that_the_tokenizer_puts_before_every_text_carries_no_tag() -> None:
    """Llama's older tokenizers put it there themselves, so that a text of the space alone is two."""
    vocabulary = {"<unk>": 0, "</s>": 1, "▁": 2, "北": 3, "京": 4}
    full = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [], unk_token="<unk>"))
    full.normalizer = tokenizers.normalizers.Prepend("▁")
    pieces = Tokenizer(full, "</s>", None)
    assert (pieces.encode("北"), pieces.encode("▁")) == ([2, 3], [2, 2])
    (one,) = Tag(pieces, Wrap.of(pieces, 64), TAGS, "BMES").inputs([TagExample(tokens=("北", "京"), tags=("B-X", "E-X"))])
    assert [one.token_ids[place] for place, word in enumerate(one.places) if word is not None] == [3, 4]


@pytest.mark.parametrize("crf", [True, False])
def test_a_token_that_is_nothing_to_the_tokenizer_has_its_tag(words: Tokenizer, crf: bool) -> None:
    head = Tag(words, Wrap.of(words, 64), TAGS, "BMES", crf=crf)
    assert words.encode("\u200b") == []
    rows = [TagExample(tokens=("\u200b",), tags=("O",)), TagExample(tokens=("\u200b", "ab"), tags=("B-X", "E-X"))]
    inputs = head.inputs(rows)
    assert [one.target for one in inputs] == [[3], [0, 1]]
    assert float(head.loss(Even(), inputs).total.detach()) / head.weight(inputs) < 10
    said = head.predictions(rows, inputs, outputs_of(head, Even(), inputs))
    assert [len(one.output["tags"]) for one in said] == [1, 2]


def test_a_window_inside_of_one_long_token_is_nothing_to_learn_from(words: Tokenizer) -> None:
    head = Tag(words, Wrap.of(words, 10), TAGS, "BMES", stride=0)
    inputs = head.inputs([TagExample(tokens=("abba" * 9,), tags=("S-X",))])
    assert any(head.weight([one]) == 0 for one in inputs)
    assert torch.isfinite(head.loss(Even(), inputs).total)


def test_tags_are_weighted_and_smoothed_without_transitions(words: Tokenizer) -> None:
    weights = balanced(["O", "O", "O", "S-X"], TAGS)
    assert weights == pytest.approx([4 / 5, 4 / 5, 4 / 5, 4 / 15, 4 / 5])
    head = Tag(words, Wrap.of(words, 64), TAGS, "BMES", smoothing=0.1, class_weights=weights)
    inputs = head.inputs([TagExample(tokens=("ab", "ba", "ab"), tags=("O", "S-X", "O"))])
    logits = torch.randn(1, len(inputs[0].token_ids), len(TAGS), generator=torch.Generator().manual_seed(0))
    logprobs = logits[0, [at for at, word in enumerate(inputs[0].places) if word is not None]].log_softmax(-1)
    share = torch.tensor(weights)
    expected = -sum(0.9 * share[tag] * row[tag] + 0.1 / len(TAGS) * (share * row).sum() for tag, row in zip((3, 4, 3), logprobs, strict=True))

    def model(**_: Any) -> Any:
        return ModelOutput(logits=logits)

    model.device = torch.device("cpu")  # type: ignore[attr-defined]
    assert float(head.loss(model, inputs).total) == pytest.approx(float(expected), rel=1e-5)
    assert head.weight(inputs) == pytest.approx(2 * 4 / 15 + 4 / 5)
