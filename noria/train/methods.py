"""Which weights of a model with a head learn, at which rates, and how they end up as plain weights.

LoRA (Hu et al. 2021): W + (alpha / r) B A on every linear layer, alpha = 2 r. DoRA (Liu et al. 2024): the same with the norms of the columns
learnt apart. Gradual unfreezing (Howard and Ruder 2018): the last layer learns from the start, each one below a little later.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from noria.config import Section
from noria.errors import ConfigError
from noria.train.adapters import check_top_layers
from noria.train.heads.classify import Classify
from noria.train.heads.embed import Embed
from noria.train.heads.head import Head
from noria.train.heads.pooling import num_own_layers
from noria.train.heads.tag import TRANSITIONS_NAME, Tag
from noria.train.task_config import TaskConfig, default_rate

FITTED = ("head", "contrast")
"""Methods that end with a classifier's last layer fitted to features."""
UNFROZEN_BY = 0.5
"""Share of the run after which all layers learn, where they begin one after the other."""
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|block)\.(\d+)\.")
_TASK_TYPES = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS", "ForQuestionAnswering": "QUESTION_ANS"}


def _takes_steps(task: str, method: str) -> bool:
    return (task, method) != ("classify", "head")


def _is_validated(task: str, method: str) -> bool:
    return _takes_steps(task, method) and method != "contrast"


_HEEDED: dict[str, Callable[[str, str], bool]] = {
    **dict.fromkeys(("learning_rate", "batch", "epochs", "warmup", "weight_decay", "max_grad_norm"), _takes_steps),
    **dict.fromkeys(("patience", "average", "num_best", "num_validations"), _is_validated),
    "micro_batch_tokens": lambda task, method: _is_validated(task, method) and task != "embed",
    "dropout": lambda task, method: method != "head" or task in ("score", "tag"),
    "head_rate": lambda task, method: method != "head" and task != "embed",
    "top_layers": lambda _, method: method not in ("head", "prompt"),
    "gradual": lambda _, method: method != "head",
    "embeddings": lambda _, method: method == "full",
    "rank": lambda _, method: method in ("lora", "dora"),
    "prompt_tokens": lambda _, method: method == "prompt",
    "label_names": lambda task, method: task == "classify" and method in FITTED,
    "fit_first": lambda task, method: task == "classify" and method not in FITTED,
    "label_smoothing": lambda task, method: task == "tag" or (task == "classify" and method not in FITTED),
    "class_weights": lambda task, _: task in ("classify", "tag"),
    "out_of_scope": lambda task, _: task == "classify",
    "crf": lambda task, _: task == "tag",
    "stride": lambda task, _: task in ("tag", "answer"),
    "call_weight": lambda task, _: task in ("chat", "tools"),
}
"""By which (task, method) a setting is heeded; those that do not stand here are by all."""


def chosen(base: str, method: str, settings: Mapping[str, Any]) -> str:
    """One sentence about what a run is made with: what was set, and what was chosen in its place."""
    told = (f"`{name}` {value:.2g}" if isinstance(value, float) else f"`{name}` {value}" for name, value in settings.items())
    return f"Method {method} on {base!r}: {', '.join(told)}."


def unheeded(task: str, method: str) -> set[str]:
    """Settings that a task and a method make nothing of."""
    return {name for name, is_heeded in _HEEDED.items() if not is_heeded(task, method)}


def changed_unheeded(config: Section, task: str, method: str) -> str | None:
    """The first setting that was changed and is not heeded."""
    fields = type(config).model_fields
    return next((name for name in fields if name in unheeded(task, method) and getattr(config, name) != fields[name].default), None)


def refuse_unheeded(config: Section, task: str, method: str) -> None:
    """Raises ConfigError for a setting that was changed and is not heeded."""
    if name := changed_unheeded(config, task, method):
        raise ConfigError(f"`{name}` is not heeded by `--method {method}` for {task}. Leave it out.")


def check_method(config: TaskConfig, head: Head, model: Any) -> None:
    """Refuse settings that this head on this model cannot be tuned with, or would not heed. Raises ConfigError."""
    check_top_layers(config.top_layers, num_own_layers(model))
    several = isinstance(head, Classify) and head.several
    if config.class_weights is not None and several:
        raise ConfigError("`class_weights` is for rows with one label each. Leave it out.")
    if config.method == "head" and isinstance(head, Embed):
        raise ConfigError("`--method head` learns a last layer, and an embedding has none. Give full, lora or dora.")
    if config.method == "contrast" and not isinstance(head, Classify):
        raise ConfigError("`--method contrast` is for classify. Give another method.")
    if config.method == "contrast" and several:
        raise ConfigError("`--method contrast` is for rows with one label each. Give another method.")
    refuse_unheeded(config, head.task, config.method)
    if several and config.out_of_scope is not None:
        raise ConfigError("`out_of_scope` is for rows with one label each: with several a text may have none of them anyway. Leave it out.")
    if config.top_layers is not None and config.embeddings:
        raise ConfigError("`embeddings` is not heeded beside `top_layers`, below which nothing learns. Leave one of them out.")
    if isinstance(head, Tag) and head.crf and (config.class_weights or config.label_smoothing):
        name = "class_weights" if config.class_weights else "label_smoothing"
        raise ConfigError(f"`{name}` is not heeded where transitions between tags are learnt. Set `crf=false`, or leave it out.")
    if config.method in ("lora", "dora") and not _adaptable(model, _first_layer(model, config)):
        raise ConfigError(f"`--method {config.method}` adapts linear layers, and this model has none. Give `--method full`.")


def with_method(model: Any, config: TaskConfig) -> Any:
    """The model with the weights of the method set to learn: itself, or wrapped in adapters; `check_method` says what is possible."""
    first = _first_layer(model, config)
    embeddings = config.top_layers is None and config.method != "contrast" and _learns_embeddings(model, config)
    if config.method in ("lora", "dora"):
        return _adapted(model, config, first)
    for name, parameter in model.named_parameters():
        layer = _layer_of(name)
        inside = embeddings if layer is None else layer >= first
        parameter.requires_grad_(not _in_base(model, name) or (config.method in ("full", "contrast") and inside))
    return model


def _first_layer(model: Any, config: TaskConfig) -> int:
    """The lowest layer that learns."""
    return 0 if config.top_layers is None else num_own_layers(model) - config.top_layers


def _adaptable(model: Any, first: int) -> list[str]:
    """The linear layers that adapters are put beside, from a layer on.

    Weights that are all zero, as in a layer that only means (`noria.train.heads.pooling`), have no norms for DoRA to divide by.
    """
    from transformers.pytorch_utils import Conv1D

    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | Conv1D)]
    inside = [name for name in linear if (layer := _layer_of(f"{name}.")) is not None and layer >= first]
    return [name for name in inside if bool(model.get_submodule(name).weight.any())]


def _learns_embeddings(model: Any, config: TaskConfig) -> bool:
    """Whether token embeddings learn: most of them stand for tokens that a task's texts never have, and each step would move them all."""
    if config.embeddings is not None:
        return config.embeddings
    count = model.get_input_embeddings().weight.numel()
    return count * 2 < sum(p.numel() for p in model.parameters())


def _adapted(model: Any, config: TaskConfig, first: int) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(config.seed)
    inside = _adaptable(model, first)
    apart = (model.base_model_prefix, TRANSITIONS_NAME)
    heads = [name for name, part in model.named_children() if name not in apart and any(True for _ in part.parameters())]
    if model.base_model is model:  # an encoder alone: what stands beside its layers is no head
        heads = []
    heads += ["pooler"] if getattr(model.base_model, "pooler", None) is not None else []
    task_type = next((kind for ending, kind in _TASK_TYPES.items() if type(model).__name__.endswith(ending)), None)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=2 * config.rank,
        target_modules=inside,
        use_dora=config.method == "dora",
        fan_in_fan_out=not isinstance(model.get_submodule(inside[0]), torch.nn.Linear),  # GPT-2's are stored the other way round
        modules_to_save=heads,
        task_type=task_type,
    )
    adapted = get_peft_model(model, lora)
    if hasattr(model, TRANSITIONS_NAME):  # the head computes with them itself: a copy that peft would train has no part in the loss
        getattr(model, TRANSITIONS_NAME).requires_grad_(True)
    return adapted


def merged(model: Any) -> Any:
    """Plain weights: adapters added to what they adapt."""
    return model.merge_and_unload() if hasattr(model, "peft_config") else model


def learning_parameters(model: Any, config: TaskConfig) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay and vectors do not, new layers learn faster, and with `gradual` lower layers begin later (`begins`)."""
    plain = model.get_base_model() if hasattr(model, "peft_config") else model
    rate = peak_rate(model, config)
    num_layers = num_own_layers(plain)
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


def peak_rate(model: Any, config: TaskConfig) -> float:
    """The rate at which a model with its method (`with_method`) learns."""
    return config.learning_rate or default_rate(config.method, num_learning(model))


def num_learning(model: Any) -> int:
    """How many weights of a model with its method (`with_method`) learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _in_base(model: Any, name: str) -> bool:
    """Whether a parameter belongs to what was pre-trained, not to the task's layers."""
    return (model.base_model is model or name.startswith(f"{model.base_model_prefix}.")) and "pooler." not in name


def _layer_of(name: str) -> int | None:
    """The layer that a parameter stands in; None of embeddings and heads."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None
