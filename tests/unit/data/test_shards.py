"""Shards: what is written is read back by map, and what is cut short is said."""

from pathlib import Path

import numpy as np
import pytest

from noria.data import Encoded, open_shards, write_shards
from noria.data.shards import is_finished
from noria.errors import ArtifactError

DOCUMENTS = [
    ("train", Encoded(token_ids=[1, 2, 3], num_bytes=7, word_starts=[True, False, True])),
    ("validation", Encoded(token_ids=[1, 9], num_bytes=2, word_starts=[True, True])),
    ("train", Encoded(token_ids=[1, 4], num_bytes=5, word_starts=[True, False])),
]


@pytest.mark.parametrize(("vocab_size", "width"), [(100, 2), (70_000, 4)])
def test_written_is_read(tmp_path: Path, vocab_size: int, width: int) -> None:
    write_shards(tmp_path, DOCUMENTS, vocab_size)
    found = open_shards(tmp_path)
    assert found.train.tokens.tolist() == [1, 2, 3, 1, 4]
    assert found.train.tokens.itemsize == width
    assert found.train.documents.tolist() == [0, 3]
    assert found.train.words is not None
    assert found.train.words.tolist() == [1, 0, 1, 1, 0]
    assert found.train.bytes_per_token == 12 / 5
    assert found.validation.tokens.tolist() == [1, 9]
    assert isinstance(found.train.tokens, np.memmap)


def test_without_held_out_documents_the_end_is_held_out(tmp_path: Path) -> None:
    found = write_shards(tmp_path, [("train", Encoded(token_ids=list(range(100)), num_bytes=200))], 100).with_held_out(0.1)
    assert found.train.tokens.tolist() == list(range(90))
    assert found.validation.tokens.tolist() == list(range(90, 100))
    assert found.validation.bytes_per_token == 2


def test_unfinished_and_cut_shards_are_refused(tmp_path: Path) -> None:
    assert not is_finished(tmp_path)
    with pytest.raises(ArtifactError, match="unfinished or corrupt"):
        open_shards(tmp_path)
    write_shards(tmp_path, DOCUMENTS, 100)
    (tmp_path / "train.tokens").write_bytes(b"\x01\x00")
    with pytest.raises(ArtifactError, match="'train.tokens' has 1 entries instead of 5"):
        open_shards(tmp_path)


def test_a_write_that_is_killed_leaves_nothing_finished(tmp_path: Path) -> None:
    write_shards(tmp_path, DOCUMENTS, 100)

    def broken():  # type: ignore[no-untyped-def]
        yield DOCUMENTS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path, broken(), 100)
    assert not is_finished(tmp_path)
