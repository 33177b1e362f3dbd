"""A disk that refuses a model: one sentence, whichever library writes."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from noria.errors import StoreError
from noria.model import load_tokenizer, resolve
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
