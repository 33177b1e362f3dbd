"""A classifier's last layer, fitted on the features of the model as it is: logistic regression, by scikit-learn's L-BFGS.

It is the method `head`, what `contrast` ends with, and where other methods begin: a layer that fits already does not first spoil the features
under it (Kumar et al. 2022). Features are computed once. A head that has a layer of its own under the last one (RoBERTa's `dense`) is fitted on what
that layer, drawn by the seed, makes of the features.
"""

import math
import random
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from noria.engine.heads import Input
from noria.train.heads.classify import Classify
from noria.train.heads.head import of_like_length, padded

STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0)
"""Inverse strengths of the penalty that are tried, for features of length one; other methods start with `START_STRENGTH`."""
START_STRENGTH = 30.0
MAX_TOKENS, MAX_ITERATIONS = 8192, 300

Features = NDArray[np.float32]


def last_layer(model: Any) -> torch.nn.Linear:
    """The linear layer that gives the logits."""
    found = [
        module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and not name.startswith(f"{model.base_model_prefix}.")
    ]
    return found[-1]


def read_features(head: Classify, model: Any, inputs: Sequence[Input]) -> torch.Tensor:
    """What the last layer reads of a batch: (inputs, width); of a decoder, whose layer reads every token, at the last that is no padding."""
    found: list[torch.Tensor] = []
    hook = last_layer(model).register_forward_pre_hook(lambda _module, read: found.append(read[0].float()))
    try:
        batch = padded(inputs, head.tokenizer.pad_id, model.device, head.with_kinds)
        model(**batch)
    finally:
        hook.remove()
    features = found[0]
    if features.dim() == 2:
        return features
    ids = batch["input_ids"]
    places = torch.arange(ids.shape[1], device=ids.device) * (ids != model.config.pad_token_id)
    return features[torch.arange(len(ids), device=ids.device), places.argmax(-1)]


@torch.no_grad()
def features_of(head: Classify, model: Any, inputs: Sequence[Input]) -> Features:
    """What the last layer reads of each input, in their order: (inputs, width)."""
    return of_like_length(inputs, lambda part: read_features(head, model, part).cpu(), MAX_TOKENS).numpy()


def some_of_each(inputs: Sequence[Input], count: int, seed: int) -> list[Input]:
    """`count` of the inputs, two at least, drawn by the seed: one of each target as far as they reach."""
    mixed = random.Random(seed).sample(inputs, len(inputs))
    first = list({str(one.target): one for one in reversed(mixed)}.values())[: max(2, count)]
    kept = {id(one) for one in first}
    others = [one for one in mixed if id(one) not in kept]
    return [*first, *others[: max(0, count - len(first))]]


def fit(head: Classify, model: Any, features: Features, targets: Sequence[Any], strength: float) -> None:
    """Set the last layer to the fit on these features; a single row of a class, or classes without rows, are fine."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    layer = last_layer(model)
    bias_weights = dict(layer.named_parameters()).get("bias")  # decoders have none
    known = np.array(targets)
    strength = strength / float(np.square(features).sum(1).mean())
    weights = None if head.class_weights is None else dict(enumerate(head.class_weights.tolist()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a start need not have converged, and the penalty bounds it
        if head.several:
            rows = [_binary(features, known[:, label], strength, bias_weights is not None) for label in range(len(head.labels))]
            weight, bias = np.stack([row for row, _ in rows]), np.array([start for _, start in rows])
        else:
            fitted = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, class_weight=weights, fit_intercept=bias_weights is not None)
            fitted.fit(features, known)
            weight, bias = fitted.coef_, fitted.intercept_
            if len(fitted.classes_) == 2:
                weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
            if len(fitted.classes_) < len(head.labels):  # a class without rows gets the mean of the logits, which is nobody's highest
                seen = (weight, bias)
                weight, bias = np.zeros((len(head.labels), features.shape[1])), np.zeros(len(head.labels))
                weight[fitted.classes_], bias[fitted.classes_] = seen
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.asarray(weight, dtype=np.float32)))
        if bias_weights is not None:
            bias_weights.copy_(torch.from_numpy(np.asarray(bias, dtype=np.float32)))


def best_strength(
    head: Classify, model: Any, features: Features, targets: Sequence[Any], score: Callable[[], float], until: float = math.inf
) -> float:
    """The strength with the best score on held-out rows; the layer is left fitted with it.

    Args:
        until: on the monotonic clock; no further strength is tried then.
    """
    scores: dict[float, float] = {}
    for strength in sorted(STRENGTHS, key=_unusual):
        if scores and time.monotonic() > until:
            break
        fit(head, model, features, targets, strength)
        scores[strength] = score()
    best = max(scores, key=lambda strength: (scores[strength], -_unusual(strength)))
    fit(head, model, features, targets, best)
    return best


def _unusual(strength: float) -> float:
    return abs(math.log(strength / START_STRENGTH))


def _binary(features: Features, known: NDArray[Any], strength: float, has_bias: bool) -> tuple[NDArray[Any], float]:
    from sklearn.linear_model import LogisticRegression

    if len(set(known.tolist())) < 2:  # all rows have the label, or none has
        sure = 4.0 if known[0] else -4.0
        center = features.mean(0)
        return (np.zeros(features.shape[1]), sure) if has_bias else (sure * center / float(center @ center), 0.0)
    fitted = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, fit_intercept=has_bias).fit(features, known)
    return fitted.coef_[0], float(np.ravel(fitted.intercept_)[0])
