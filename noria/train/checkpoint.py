"""Checkpoints of a run: weights that learn, optimizers and position, in one file each that appears whole or not at all."""

import logging
import os
import pickle
import zipfile
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from noria.errors import ConfigError, DataError, ModelError, StoreError
from noria.store.claim import give_up
from noria.train.sharding import placed

BEST = "best.pt"
_log = logging.getLogger(__name__)


@contextmanager
def model_errors(out: Path) -> Generator[None]:
    """Translate what the disk refuses while a model is written to `out` to a StoreError: the scratch folder stays, so nothing is lost."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StoreError(f"The model could not be written to '{out}': {error}. Free some disk space and run the same command again.") from error


@contextmanager
def given_up_on_failure(out: Path, scratch: Path) -> Generator[None]:
    """Free `out` where its work turns out to be impossible before the first checkpoint: the same would fail again, so let others be tried there."""
    try:
        yield
    except (ConfigError, DataError, ModelError):
        if not exists(scratch):
            give_up(out, scratch)
        raise


def save(folder: Path, step: int, state: dict[str, Any], num_kept: int = 1) -> None:
    """Write the checkpoint of a step, then drop all but the last `num_kept`. Raises StoreError when the disk refuses; the earlier ones then stay."""
    _write(folder, f"checkpoint-{step:09d}.pt", state)
    for path in _written(folder)[num_kept:]:
        path.unlink(missing_ok=True)


def save_best(folder: Path, state: dict[str, Any], name: str = BEST) -> None:
    """Keep these weights as the best so far, or as one of several by another name. Raises StoreError."""
    _write(folder, name, state)


def load_best(folder: Path, name: str = BEST) -> dict[str, Any] | None:
    """What `save_best` kept last, or None; a corrupt file is set aside with a message."""
    return _read(folder / name) if (folder / name).is_file() else None


def drop_bests(folder: Path, kept: Collection[str]) -> None:
    """Remove what was kept as one of several best and is so no more."""
    for path in folder.glob("best-*.pt"):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def mean_of_bests(folder: Path, names: Sequence[str]) -> tuple[dict[str, torch.Tensor], int]:
    """The mean of the weights in these files, of which two at a time are in memory, and how many could be read."""
    mean: dict[str, torch.Tensor] = {}
    count = 0
    for name in names:
        if (state := load_best(folder, name)) is None:
            continue
        count += 1
        for key, weight in state["weights"].items():
            mean[key] = weight.float() if count == 1 else mean[key].lerp_(weight.float(), 1 / count)
    return mean, count


def load(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint that can be read, or None. A corrupt one is set aside with a message, and the one before it is taken."""
    for path in _written(folder):
        if (state := _read(path)) is not None:
            return state
    return None


def exists(folder: Path) -> bool:
    return bool(_written(folder))


def _written(folder: Path) -> list[Path]:
    """The checkpoints that are there, the last first."""
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)


def _write(folder: Path, name: str, state: dict[str, Any]) -> None:
    making = folder / f".{name}.making"
    try:
        with making.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        making.replace(folder / name)
    except (OSError, RuntimeError) as error:
        making.unlink(missing_ok=True)
        raise StoreError(
            f"The checkpoint in '{folder}' could not be written: {error}. Free some disk space and run the same command again."
        ) from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        _check_sums(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        with suppress(FileNotFoundError):  # another process of the run was first
            path.replace(path.with_suffix(".corrupt"))
            _log.warning("The checkpoint '%s' is corrupt (%s); it was set aside, and the run goes on from the one before it.", path, error)
        return None


def _check_sums(path: Path) -> None:
    """Raises ValueError or BadZipFile where a block of the file is not as it was written: torch reads past the sums that it wrote."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise ValueError(f"the sum of '{damaged}' is wrong")


def trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def restore(parameters: dict[str, torch.nn.Parameter], saved: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(placed(saved[name], parameter))
