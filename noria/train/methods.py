"""Which weights of a model with a head learn, at which rates, and how they end up as plain weights.

LoRA (Hu et al. 2021): W + (alpha / r) B A on every linear layer, alpha = 2 r. DoRA (Liu et al. 2024): the same with the norms of the columns
learnt apart. Gradual unfreezing (Howard and Ruder 2018): the last layer learns from the start, each one below a little later.
"""

import re
from typing import Any

import torch

from noria.errors import ConfigError
from noria.train.task_config import LEARNING_RATES, TaskConfig

UNFROZEN_BY = 0.5
"""Share of the run after which all layers learn, where they begin one after the other."""
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|block)\.(\d+)\.")
_TASK_TYPES = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS", "ForQuestionAnswering": "QUESTION_ANS"}


def with_method(model: Any, config: TaskConfig) -> Any:
    """The model with the weights of the method set to learn: itself, or wrapped in adapters. Raises ConfigError."""
    num_layers: int = model.config.num_hidden_layers
    if config.top_layers is not None and config.top_layers > num_layers:
        raise ConfigError(f"`top_layers` is {config.top_layers}, but the model has {num_layers} layers.")
    if config.method == "prompt":
        raise ConfigError("`--method prompt` tunes models that write; a head needs one of: full, lora, dora, head.")
    first = num_layers - (config.top_layers or num_layers)
    if config.method in ("lora", "dora"):
        return _adapted(model, config, first)
    for name, parameter in model.named_parameters():
        layer = _layer_of(name)
        # By contrasts only what is inside the layers learns: with few texts most tokens are never seen.
        inside = (config.top_layers is None and config.method != "contrast") if layer is None else layer >= first
        parameter.requires_grad_(not _in_base(model, name) or (config.method in ("full", "contrast") and inside))
    return model


def _adapted(model: Any, config: TaskConfig, first: int) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(config.seed)
    linear = [name for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and (_layer_of(f"{name}.") or 0) >= first]
    # Weights that are all zero, as in a layer that only means (`noria.train.heads.pooling`), have no norms for DoRA to divide by.
    inside = [name for name in linear if _layer_of(f"{name}.") is not None and bool(model.get_submodule(name).weight.any())]
    heads = [name for name, part in model.named_children() if name != model.base_model_prefix and any(True for _ in part.parameters())]
    heads += ["pooler"] if getattr(model.base_model, "pooler", None) is not None else []
    task_type = next((kind for ending, kind in _TASK_TYPES.items() if type(model).__name__.endswith(ending)), None)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=2 * config.rank,
        target_modules=inside,
        use_dora=config.method == "dora",
        modules_to_save=heads,
        task_type=task_type,
    )
    return get_peft_model(model, lora)


def merged(model: Any) -> Any:
    """Plain weights: adapters added to what they adapt."""
    return model.merge_and_unload() if hasattr(model, "peft_config") else model


def learning_parameters(model: Any, config: TaskConfig) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay and vectors do not, new layers learn faster, and with `gradual` lower layers begin later (`begins`)."""
    plain = model.get_base_model() if hasattr(model, "peft_config") else model
    size = sum(p.numel() for p in plain.parameters())
    rate = config.learning_rate or LEARNING_RATES[config.method] * (min(1.0, (2e7 / size) ** 0.25) if config.method == "full" else 1.0)
    num_layers: int = plain.config.num_hidden_layers
    groups: dict[tuple[float, float, float], list[Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_new = not _in_base(plain, name.removeprefix("base_model.model."))
        faster = config.head_rate if is_new and config.method != "head" else 1.0
        decay = config.weight_decay if parameter.dim() > 1 else 0.0
        begins = 0.0
        if config.gradual and not is_new:
            layer = _layer_of(name)
            begins = UNFROZEN_BY * (1.0 if layer is None else (num_layers - 1 - layer) / num_layers)
        groups.setdefault((rate * faster, decay, begins), []).append(parameter)
    return [{"params": ps, "lr": lr, "weight_decay": decay, "begins": begins} for (lr, decay, begins), ps in groups.items()]


def _in_base(model: Any, name: str) -> bool:
    """Whether a parameter belongs to what was pre-trained, not to the task's layers."""
    return name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in name


def _layer_of(name: str) -> int | None:
    """The layer that a parameter stands in; None of embeddings and heads."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None
