"""A model parted over processes, for one whose training state is too large for each (Rajbhandari et al. 2020; Zhao et al. 2023).

In: a whole model on every process, which is what it takes at the start. Out: the same model, of whose weights, gradients and optimizer state each
process holds its part; a layer's weights are put together while it computes. Checkpoints hold whole tensors, so a run may go on with another
number of processes.
"""

from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from noria.errors import ConfigError


def shard(model: Any) -> None:
    """Part a decoder's weights over all processes. Raises ConfigError for one whose output layer has weights of its own."""
    base = model.base_model
    layers = getattr(base, "layers", None) or getattr(base, "h", None)
    if layers is None or not model.config.tie_word_embeddings:
        raise ConfigError(f"A {model.config.model_type} cannot be parted over processes: leave `shard` out.")
    for layer in layers:
        fully_shard(layer)
    fully_shard(base)
    model.get_output_embeddings().weight = model.get_input_embeddings().weight
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # The losses are sums over all of a step, so gradients are summed, not averaged.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def let_go(model: torch.nn.Module) -> None:
    """Part again what a pass without a way back has left together: weights that are changed now would not be seen by the next pass."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole(value: Any, keep: bool) -> Any:
    """The same value with every parted tensor in it put together, in the processor's memory; all processes call it.

    Args:
        keep: whether this process wants the result; the others only take part, a tensor at a time.
    """
    if isinstance(value, DTensor):
        full = value.full_tensor()
        return full.cpu() if keep else None
    if isinstance(value, dict):
        return {key: whole(item, keep) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item, keep) for item in value]
    return value


def placed(saved: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor as `like` is: parted where that is."""
    if isinstance(like, DTensor) and not isinstance(saved, DTensor):
        return distribute_tensor(saved, like.device_mesh, like.placements)
    return saved


def placed_state(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's saved state, its tensors parted as the weights they belong to."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    entries = {
        number: {name: placed(v, parameters[number]) if _is_of(v, parameters[number]) else v for name, v in entry.items()}
        for number, entry in state["state"].items()
    }
    return {**state, "state": entries}


def _is_of(value: Any, parameter: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == parameter.shape
