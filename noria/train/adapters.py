"""Which weights learn, and how they end up as plain weights again."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from noria.errors import ConfigError, ModelError
from noria.train.config import TuneConfig
from noria.train.soft_prompt import has_soft_prompt, keep_soft_prompt, learn_soft_prompt


def check_top_layers(top_layers: int | None, num_layers: int) -> None:
    """Raises ConfigError where a model has fewer layers than are to learn."""
    if top_layers is not None and top_layers > num_layers:
        raise ConfigError(f"`top_layers` is {top_layers}, but the model has {num_layers} layers. Give a number from 1 to {num_layers}.")


def make_trainable(model: PreTrainedModel, config: TuneConfig) -> Any:
    """The model with the weights of the method set to learn: itself (full, or prompt), or wrapped in low-rank adapters.

    LoRA (Hu et al. 2021): W + (alpha / r) B A on every linear layer but the output, with alpha = 2 r; B starts at zero, so the first
    forward pass is the base model's. DoRA (Liu et al. 2024) learns the norms of that sum's columns apart. With `top_layers` the layers below the
    top ones stay as they are, and no gradient is computed for them.

    Raises:
        ConfigError: `top_layers` is more than the model has.
    """
    num_layers: int = model.config.num_hidden_layers
    check_top_layers(config.top_layers, num_layers)
    learnt = range(num_layers - (config.top_layers or num_layers), num_layers)
    if config.method == "prompt":
        return learn_soft_prompt(model)
    if config.method == "full":
        _require_gradients(model, learnt, whole=config.top_layers is None)
        return model
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(config.seed)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=2 * config.rank,
        target_modules=_linear_names(model),
        layers_to_transform=list(learnt),
        use_dora=config.method == "dora",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def _require_gradients(model: PreTrainedModel, layers: range, whole: bool) -> None:
    model.requires_grad_(whole)
    blocks = _blocks(model)
    for index in layers:
        blocks[index].requires_grad_(True)


def _blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    blocks = model.get_decoder().layers
    assert isinstance(blocks, torch.nn.ModuleList)
    return blocks


def _linear_names(model: PreTrainedModel) -> list[str]:
    """Names of the linear layers inside the decoder's blocks (q_proj, down_proj, ...); the output layer is not among them."""
    return sorted({name.rpartition(".")[2] for name, module in _blocks(model).named_modules() if isinstance(module, torch.nn.Linear)})


def base_of(model: Any) -> PreTrainedModel:
    """The transformers model under the adapters; it runs with them."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def save_adapter(model: Any, folder: Path) -> None:
    """The adapters alone in peft's format, so that they can be served or continued elsewhere; nothing for a full model."""
    if hasattr(model, "peft_config"):
        model.save_pretrained(str(folder))


def merged(model: Any) -> PreTrainedModel:
    """Plain weights: the adapters added to the matrices they adapt. The model must not be trained further."""
    if has_soft_prompt(model):
        return keep_soft_prompt(model)
    if not hasattr(model, "peft_config"):
        return model
    plain = model.merge_and_unload()
    if not all(bool(torch.isfinite(p).all()) for p in plain.parameters()):
        raise ModelError("The tuned weights hold values that are not finite. Lower the learning rate and tune again.")
    return plain
