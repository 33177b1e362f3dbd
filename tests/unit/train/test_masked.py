"""Masked language modelling and next sentences: what is drawn, and that the loss is the papers' (and transformers' own)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noria.errors import DataError
from noria.model import Shape, make_config, new_model
from noria.testing.tiny_text import shards_of
from noria.train.attention import Rows, use_packed_attention
from noria.train.masked import FOLLOWS, RANDOM, EncoderIds, Masked, MaskedRows, mask, part_near

IDS = EncoderIds(begin=2, end=3, mask=4, first_plain=5, vocab_size=60, sentence_ends=frozenset({9}))
SPECIAL = {"bos": 2, "eos": 3, "pad": 0}


def encoder(architecture: Any = "bert") -> Any:
    model = new_model(make_config(architecture, Shape(width=16, num_layers=2, num_heads=2, context=32), 60, SPECIAL), 0)
    use_packed_attention(model)
    return model.eval()


def documents(count: int = 12, length: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(5, 60, length + number).tolist() for number in range(count)]


def objective(**settings: Any) -> Masked:
    return Masked(**{"ids": IDS, "mask_rate": 0.15, "sentence_weight": 1.0, "context": 32, "rows": 6, "micro_rows": 4, "seed": 0, **settings})


def unmasked(rows: MaskedRows) -> list[int]:
    """The tokens with what is predicted in its place."""
    whole = list(rows.token_ids)
    for at, target in zip(rows.chosen, rows.targets, strict=True):
        whole[at] = target
    return whole


def test_a_small_case_written_out() -> None:
    """Two rows: the loss is the mean over what is masked, plus lambda times the mean over the rows, of transformers' own logits."""
    model = encoder()
    rows = MaskedRows(labels=[FOLLOWS, RANDOM], label_weight=0.5 * 3 / 2)
    rows.add([2, 10, 4, 3, 12, 13, 3], [0, 0, 0, 0, 1, 1, 1], [2], [11])
    rows.add([2, 20, 21, 22, 3, 4, 4, 3], [0, 0, 0, 0, 0, 1, 1, 1], [5, 6], [23, 24])
    found = objective(sentence_weight=0.5).loss(model, rows).total / 3
    model.set_attn_implementation("eager")
    mlm, sentence = [], []
    for ids, kinds, targets, label in [
        ([2, 10, 4, 3, 12, 13, 3], [0, 0, 0, 0, 1, 1, 1], {2: 11}, 0),
        ([2, 20, 21, 22, 3, 4, 4, 3], [0, 0, 0, 0, 0, 1, 1, 1], {5: 23, 6: 24}, 1),
    ]:
        output = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([kinds]))
        mlm += [-output.prediction_logits[0, at].log_softmax(-1)[target] for at, target in targets.items()]
        sentence.append(-output.seq_relationship_logits[0].log_softmax(-1)[label])
    expected = sum(mlm) / 3 + 0.5 * sum(sentence) / 2
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_rows_that_are_filled_up_lose_and_learn_what_rows_without_padding_do(tmp_path: Path, architecture: str) -> None:
    """Rows of nearly 32 tokens are filled up to 32, and not to 64."""
    settings = {"sentence_weight": 1.0 if architecture == "bert" else 0.0, "mask_rate": 0.3}
    rows = objective(**settings).steps(shards_of(tmp_path, documents(length=46)).train).step(0).micro_batches[0].items
    assert len({s.end - s.start for s in rows.segments}) > 1
    model, attended = encoder(architecture).train(), []
    model.base_model.register_forward_pre_hook(lambda _m, _a, named: attended.append(type(named["segments"])), with_kwargs=True)
    found = []
    for context in (32, 64):
        model.zero_grad()
        loss = objective(**settings, context=context).loss(model, rows).total
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert attended == [Rows, list]
    for filled, without in zip(*found, strict=True):
        torch.testing.assert_close(filled, without, atol=1e-4, rtol=1e-4)


def test_modernbert_predicts_masks_alone(tmp_path: Path) -> None:
    model = encoder("modernbert")
    steps = objective(sentence_weight=0.0).steps(shards_of(tmp_path, documents()).train)
    step = steps.step(0)
    rows = step.micro_batches[0].items
    assert not rows.labels
    found = step.micro_batches[0](model).total
    model.set_attn_implementation("eager")
    expected = torch.zeros(())
    chosen = dict(zip(rows.chosen, rows.targets, strict=True))
    for segment in rows.segments:
        logits = model(input_ids=torch.tensor([rows.token_ids[segment.start : segment.end]])).logits[0]
        for at in range(segment.start, segment.end):
            if at in chosen:
                expected = expected - logits[at - segment.start].log_softmax(-1)[chosen[at]]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_eighty_ten_ten() -> None:
    tokens = np.full(100_000, 7)
    read, chosen = mask(tokens, np.ones(100_000, dtype=bool), 0.15, IDS, np.random.default_rng(0))
    assert len(chosen) == 15_000
    masked, same = (read[chosen] == IDS.mask).mean(), (read[chosen] == 7).mean()
    assert masked == pytest.approx(0.8, abs=0.015)
    assert same == pytest.approx(0.1 + 0.1 / 55, abs=0.01)
    assert read[chosen].min() >= IDS.mask
    untouched = np.ones(100_000, dtype=bool)
    untouched[chosen] = False
    assert (read[untouched] == 7).all()


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.floats(0.01, 0.9), st.integers(0, 99))
def test_whole_words_are_chosen_and_no_more_than_the_rate(starts: list[bool], rate: float, seed: int) -> None:
    words = np.array([True, *starts[1:]])
    tokens = np.arange(5, 5 + len(words))
    _, chosen = mask(tokens, words, rate, IDS, np.random.default_rng(seed))
    word_of = np.cumsum(words) - 1
    assert set(chosen) == {i for i in range(len(words)) if word_of[i] in set(word_of[chosen])}
    one_word = len(set(word_of[chosen])) == 1
    assert 0 < len(chosen) <= max(1, round(rate * len(words))) or one_word


@pytest.mark.parametrize("length", [lambda number: 40 + number, lambda number: 9 if number % 3 else 60], ids=["alike", "mostly short"])
def test_the_length_of_a_row_does_not_tell_its_label(tmp_path: Path, length: Any) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(5, 60, length(number)).tolist() for number in range(40)]
    steps = objective(rows=500, micro_rows=500).steps(shards_of(tmp_path, texts).train)
    lengths: dict[int, list[int]] = {FOLLOWS: [], RANDOM: []}
    for number in range(10):
        rows = steps.step(number).micro_batches[0].items
        for segment, label in zip(rows.segments, rows.labels, strict=True):
            lengths[label].append(segment.end - segment.start)
    shares = [np.bincount(lengths[label], minlength=33) / len(lengths[label]) for label in (FOLLOWS, RANDOM)]
    assert np.abs(np.cumsum(shares[0]) - np.cumsum(shares[1])).max() < 0.055  # of 2,500 each: one time in a thousand by chance
    assert steps.step(1).micro_batches[0].items.token_ids == steps.step(1).micro_batches[0].items.token_ids


def test_how_a_row_ends_does_not_tell_its_label(tmp_path: Path) -> None:
    """Every document ends with a token that is nowhere else: a second part that could reach the end of its passage would show it."""
    rng = np.random.default_rng(0)
    texts = [[*rng.integers(10, 60, 11 + number % 9).tolist(), 9] for number in range(40)]
    rows = objective(rows=500, micro_rows=500).steps(shards_of(tmp_path, texts).train).step(0).micro_batches[0].items
    whole = unmasked(rows)
    assert {label: [whole[s.end - 2] for s, one in zip(rows.segments, rows.labels, strict=True) if one == label].count(9) for label in (0, 1)} == {
        FOLLOWS: 0,
        RANDOM: 0,
    }


def test_rows_are_pairs_from_one_document_or_two(tmp_path: Path) -> None:
    given_documents = documents()
    owner = {tuple(d[i : i + 3]): n for n, d in enumerate(given_documents) for i in range(len(d) - 2)}
    steps = objective(mask_rate=0.01).steps(shards_of(tmp_path, given_documents).train)
    labels: list[int] = []
    for number in range(20):
        for micro in steps.step(number).micro_batches:
            rows = micro.items
            whole = unmasked(rows)
            for segment, label in zip(rows.segments, rows.labels, strict=True):
                row, kinds = whole[segment.start : segment.end], rows.kinds[segment.start : segment.end]
                assert len(row) <= 32
                border = kinds.index(1)
                first, second = row[1 : border - 1], row[border:-1]
                assert (row[0], row[border - 1], row[-1]) == (IDS.begin, IDS.end, IDS.end)
                owners = {owner.get(tuple(part[:3])) for part in (first, second)}
                assert len(owners - {None}) == (1 if label == FOLLOWS else 2)
                if label == FOLLOWS:
                    together = [*first, *second]
                    assert any(together == d[i : i + len(together)] for d in given_documents for i in range(len(d)))
                labels.append(label)
    assert 0.35 < np.mean(labels) < 0.65


def test_where_a_part_begins_does_not_tell_whether_it_follows(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sentences = [[*rng.integers(10, 60, 7).tolist(), 9] for _ in range(400)]  # 9 ends a sentence
    begins = {tuple(sentence[:3]) for sentence in sentences}
    texts = [[token for sentence in sentences[at : at + 10] for token in sentence] for at in range(0, 400, 10)]
    steps = objective(mask_rate=0.01).steps(shards_of(tmp_path, texts).train)
    right = total = 0
    for number in range(60):
        for micro in steps.step(number).micro_batches:
            rows = micro.items
            whole = unmasked(rows)
            for segment, label in zip(rows.segments, rows.labels, strict=True):
                second = whole[segment.start : segment.end][rows.kinds[segment.start : segment.end].index(1) : -1]
                right += (tuple(second[:3]) in begins) == (label == FOLLOWS)
                total += 1
    assert right / total < 0.6


def test_a_step_is_the_same_whatever_was_asked_before_and_its_weight_is_what_is_predicted(tmp_path: Path) -> None:
    split = shards_of(tmp_path, documents()).train
    one, other = objective().steps(split), objective().steps(split)
    wanted = [one.step(number) for number in range(6)]
    again = [other.step(number) for number in reversed(range(6))][::-1]
    for a, b in zip(wanted, again, strict=True):
        assert [m.items for m in a.micro_batches] == [m.items for m in b.micro_batches]
        assert a.weight == sum(len(m.items.targets) for m in a.micro_batches)
        assert a.num_tokens == sum(len(m.items.token_ids) for m in a.micro_batches)


def test_a_passage_is_parted_where_a_sentence_ends() -> None:
    tokens = np.array([10, 11, 12, 9, 13, 14, 15, 16, 17, 18])
    assert {part_near(tokens, np.random.default_rng(seed), IDS.sentence_ends) for seed in range(20)} == {4}
    assert all(2 <= part_near(tokens, np.random.default_rng(seed), frozenset()) <= 8 for seed in range(20))


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is one. Set `sentence_weight=0`"):
        objective().steps(shards_of(tmp_path / "one", documents(1)).train)
    with pytest.raises(DataError, match="No document of the corpus has 8 tokens"):
        objective().steps(shards_of(tmp_path / "short", [[5, 6, 7]] * 9).train)


def test_a_score_tells_both_losses_and_how_often_they_are_right(tmp_path: Path) -> None:
    found = objective().score(encoder(), shards_of(tmp_path, documents()).train, 10_000)
    assert found["loss"] == pytest.approx(found["mlm_loss"] + found["sentence_loss"])
    assert found == objective().score(encoder(), shards_of(tmp_path, documents()).train, 10_000)
    assert found["mlm_loss"] == pytest.approx(np.log(60), abs=0.3)
    assert 0 <= found["sentence_accuracy"] <= 1
