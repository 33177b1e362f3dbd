"""A BERT whose first token ends as the mean of all, as sentence encoders are trained, in the form of one more plain layer.

Attention that scores every token alike gives the mean of what stands before it; added with a large factor to the token itself, whose share the
norm then drowns, it leaves norm(mean). The feed-forward layer adds nothing. So the folder still loads as an ordinary BERT, whose head reads the
first token.
"""

from typing import Any

import torch

FACTOR = 1000.0
"""How much more the mean weighs than the token itself: the rest is below what bfloat16 tells apart."""


@torch.no_grad()
def add_mean_layer(model: Any) -> None:
    """Put the layer behind the last one of a BERT with a head; its pooler, which was never trained, passes on what it reads."""
    from transformers.models.bert.modeling_bert import BertLayer

    config = model.config
    config.num_hidden_layers += 1
    layers = model.base_model.encoder.layer
    layer = BertLayer(config, layer_idx=len(layers)) if _takes_index(BertLayer) else BertLayer(config)
    for parameter in layer.parameters():
        parameter.zero_()
    identity = torch.eye(config.hidden_size)
    layer.attention.self.value.weight.copy_(identity)
    layer.attention.output.dense.weight.copy_(FACTOR * identity)
    for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm):
        norm.weight.fill_(1.0)
    for module in layer.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # a mean is given on whole
    layers.append(layer.to(layers[0].attention.self.value.weight.device))
    pooler = getattr(model.base_model, "pooler", None)
    if pooler is not None:
        pooler.dense.weight.copy_(0.5 * identity)
        pooler.dense.bias.zero_()


def num_own_layers(model: Any) -> int:
    """Layers of a model, without one that only means: that one learns with the last of the others."""
    count: int = model.config.num_hidden_layers
    if model.config.model_type != "bert":
        return count
    attention = model.base_model.encoder.layer[-1].attention.self
    return count - (not bool(attention.query.weight.any()) and not bool(attention.key.weight.any()))


def _takes_index(layer_class: Any) -> bool:
    import inspect

    return "layer_idx" in inspect.signature(layer_class.__init__).parameters


def pools_by_mean(folder: Any) -> bool:
    """Whether a folder is of a sentence encoder that means its tokens (sentence-transformers' `1_Pooling`)."""
    import json
    from pathlib import Path

    path = Path(folder) / "1_Pooling/config.json"
    return path.is_file() and bool(json.loads(path.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens"))
