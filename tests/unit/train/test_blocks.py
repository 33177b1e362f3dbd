"""Blocks: every token is learnt once an epoch, a step is the same whenever it is asked for, and documents do not see one another."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from noria.data import Encoded, ShardSplit, write_shards
from noria.errors import DataError
from noria.testing.tiny_training import tiny_model
from noria.train.attention import use_packed_attention
from noria.train.blocks import Block, BlockSteps, in_order
from noria.train.causal import Causal, layout
from noria.train.objective import Loss

BEGIN = 1


def split(folder: Path, lengths: list[int]) -> ShardSplit:
    tokens = iter(range(2, 10_000))
    documents = [("train", Encoded(token_ids=[BEGIN, *(next(tokens) for _ in range(n - 1))], num_bytes=4 * n)) for n in lengths]
    return write_shards(folder, documents, 10_000).train


def loss_of_nothing(_model: object, block: Block) -> Loss:
    return Loss(total=torch.tensor(float(block.tokens[:, 1:].size)))


def steps(given: ShardSplit, batch: int = 2, micro: int = 1, seed: int = 0) -> BlockSteps:
    return BlockSteps(given, 8, batch, micro, loss_of_nothing, seed)


def blocks_of(given: BlockSteps, number: int) -> list[list[int]]:
    return [row for micro in given.step(number).micro_batches for row in micro.items.tokens.tolist()]


def test_an_epoch_predicts_every_token_at_most_once_and_nearly_all(tmp_path: Path) -> None:
    given = split(tmp_path, [30, 50, 21])
    run = steps(given, batch=1)
    seen = Counter(token for number in range(run.num_blocks) for row in blocks_of(run, number) for token in row[1:])
    del seen[BEGIN]
    assert max(seen.values()) == 1
    assert sum(seen.values()) > 101 - 3 - 2 * 8


def test_a_step_is_the_same_whatever_was_asked_before(tmp_path: Path) -> None:
    given = split(tmp_path, [40, 60])
    one, other = steps(given), steps(given)
    wanted = [blocks_of(one, number) for number in range(20)]
    assert [blocks_of(other, number) for number in reversed(range(20))] == wanted[::-1]
    assert [blocks_of(steps(given, seed=1), number) for number in range(20)] != wanted


def test_micro_batches_only_cut_a_step(tmp_path: Path) -> None:
    given = split(tmp_path, [100])
    assert blocks_of(steps(given, batch=4, micro=4), 3) == blocks_of(steps(given, batch=4, micro=1), 3)
    step = steps(given, batch=4, micro=3).step(0)
    assert sum(micro(None).total.item() for micro in step.micro_batches) == step.weight == step.num_tokens == 32


def test_too_little_text_for_a_block(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fewer than one block of 8"):
        steps(split(tmp_path, [5]))


def test_documents_in_one_block_do_not_see_one_another() -> None:
    model = tiny_model()
    use_packed_attention(model)
    tokens = torch.tensor([[BEGIN, 5, 6, 7, BEGIN, 8, 9, 4, 5]])
    together = Causal(BEGIN, context=8, rows=1, micro_rows=1, seed=0).loss(model, Block(tokens=tokens.numpy())).total
    # The first document predicts up to the mark that ends it; the second is alone.
    apart = sum(
        Causal(BEGIN, context=8, rows=1, micro_rows=1, seed=0).loss(model, Block(tokens=part.numpy())).total
        for part in (tokens[:, :5], tokens[:, 4:])
    )
    torch.testing.assert_close(together, apart)


def test_layout_begins_anew_at_each_row_and_document() -> None:
    rows, positions = layout(torch.tensor([[3, 3, BEGIN, 3], [3, 3, 3, 3]]), BEGIN)
    assert rows.mask is not None
    assert (rows.mask == 0).tolist() == [
        [[True, False, False, False], [True, True, False, False], [False, False, True, False], [False, False, True, True]],
        torch.ones(4, 4, dtype=torch.bool).tril().tolist(),
    ]
    assert positions.tolist() == [[0, 1, 0, 1, 0, 1, 2, 3]]
    assert layout(torch.tensor([[3, 3], [BEGIN, 3]]), BEGIN)[0].mask is None


def test_validation_takes_the_same_sample(tmp_path: Path) -> None:
    given = split(tmp_path, [100])
    some = [b.tokens.tolist() for b in in_order(given, 8, 24)]
    assert some == [b.tokens.tolist() for b in in_order(given, 8, 24)]
    assert len(some) == 3
    assert len(list(in_order(given, 8, 10_000))) == 12
