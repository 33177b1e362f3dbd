"""Optimizers: which weights move how. AdamW for everything, or Muon for the matrices inside the layers and AdamW for the rest."""

import math
import re
from collections.abc import Iterable
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

_INSIDE = re.compile(r"(^|\.)(layers?|h|block)\.\d+\.")
"""Names of modules inside a layer, in every architecture of `noria.model.architectures`."""


def adamw(model: torch.nn.Module, rate: float, weight_decay: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) on all weights that learn; vectors do not decay."""
    return _adamw([p for p in model.parameters() if p.requires_grad], rate, weight_decay, betas)


def muon_and_adamw(
    model: torch.nn.Module, matrices: Iterable[torch.nn.Parameter], muon_rate: float, rate: float, weight_decay: float, betas: tuple[float, float]
) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) on these matrices, AdamW on the other weights that learn.

    Args:
        matrices: weights of two dimensions inside the layers; embeddings and the output layer are none of Muon's business.
    """
    chosen = list(matrices)
    ids = {id(p) for p in chosen}
    others = [p for p in model.parameters() if p.requires_grad and id(p) not in ids]
    # The update is scaled by 0.2 sqrt(max(rows, columns)), so that its size is AdamW's (Liu et al. 2025).
    muon = torch.optim.Muon(chosen, lr=muon_rate, momentum=0.95, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, _adamw(others, rate, weight_decay, betas)]


def layer_matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The matrices inside a model's layers: what Muon moves."""
    matrices = {f"{name}.weight" for name, m in model.named_modules() if _INSIDE.search(name) and isinstance(m, torch.nn.Linear | Conv1D)}
    return [p for name, p in model.named_parameters() if name in matrices]


def _adamw(parameters: list[torch.nn.Parameter], rate: float, weight_decay: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    decayed = [p for p in parameters if p.dim() > 1]
    rest = [p for p in parameters if p.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=rate, betas=betas, fused=True)


def up_and_down(step: int, num_steps: int, warmup: float) -> float:
    """Share of the peak rate: linear warm-up over the share `warmup` of the steps, then linear decay to a twentieth."""
    num_rising = max(1, math.ceil(warmup * num_steps))
    rise = min(1.0, (step + 1) / num_rising)
    fall = max(0.05, 1.0 - max(0, step + 1 - num_rising) / max(1, num_steps - num_rising + 1))
    return rise * fall
