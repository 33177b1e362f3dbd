"""What a disk refuses or spoils: a model that does not fit is one sentence, a checkpoint with a damaged block is not believed."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from noria.errors import StoreError
from noria.model import load_tokenizer, resolve
from noria.train import checkpoint
from noria.train.checkpoint import model_errors


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file can become longer than 4 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("what", ["weights", "tokenizer"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, what: str, small_disk: None) -> None:
    tokenizer = load_tokenizer(resolve("smollm2-135m").path)
    with pytest.raises(StoreError, match="The model could not be written to .*Free some disk space"), model_errors(tmp_path):
        if what == "weights":
            save_file({"a": torch.zeros(1 << 16)}, str(tmp_path / "model.safetensors"))
        else:
            tokenizer.save(tmp_path)


@pytest.mark.parametrize("damage", ["flipped", "zeroed", "cut"])
def test_a_damaged_block_is_seen_and_the_checkpoint_before_it_taken(tmp_path: Path, damage: str) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"step": step, "weights": torch.arange(1, 10_000, dtype=torch.float32)}, num_kept=2)
    path = tmp_path / "checkpoint-000000002.pt"
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[20_000] ^= 1
    elif damage == "zeroed":
        data[20_000:24_096] = bytes(4096)
    path.write_bytes(data[:30_000] if damage == "cut" else data)
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-000000001.pt", "checkpoint-000000002.corrupt"]


def test_two_processes_set_one_corrupt_checkpoint_aside(tmp_path: Path) -> None:
    """Both have seen the file; it is gone when the second one reads, or when it sets it aside."""
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"step": step}, num_kept=2)
    seen = checkpoint._written(tmp_path)  # pyright: ignore[reportPrivateUsage]
    seen[0].write_bytes(b"")
    assert [checkpoint._read(seen[0]) for _ in range(2)] == [None, None]  # pyright: ignore[reportPrivateUsage]
    state = checkpoint.load(tmp_path)
    assert state == {"step": 1}
