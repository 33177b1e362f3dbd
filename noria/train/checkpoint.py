"""Checkpoints of a run: weights that learn, optimizer and position, in one file that appears whole or not at all."""

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from noria.errors import StoreError

NAME = "checkpoint.pt"
_log = logging.getLogger(__name__)


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`. Raises StoreError when the disk refuses; the previous checkpoint then stays."""
    making = folder / f".{NAME}.making"
    try:
        with making.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        making.replace(folder / NAME)
    except (OSError, RuntimeError) as error:
        making.unlink(missing_ok=True)
        raise StoreError(
            f"The checkpoint in '{folder}' could not be written: {error}. Free some disk space and run the same command again."
        ) from error


def load(folder: Path) -> dict[str, Any] | None:
    """The last checkpoint, or None. A corrupt one is set aside with a message: the run then starts over."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        path.replace(path.with_suffix(".corrupt"))
        _log.warning("The checkpoint '%s' is corrupt (%s); it was set aside and the run starts over.", path, error)
        return None


def trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def restore(parameters: dict[str, torch.nn.Parameter], saved: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
