"""The last states of a base that rests under a head that learns: computed once an input, without dropout, for every epoch and validation.

In: a model of which the head alone learns, and the inputs. Out: the same model, whose base gives what is kept; the layers above it, a pooler
included, compute as before. States are kept in half precision up to a bound; what is beyond it goes through the base each time. A base that gives
more than its last states, and what a pooler makes of them, is left as it is.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from noria.engine.heads import Input
from noria.engine.heads.reader import MAX_TOKENS, in_parts
from noria.model.precision import products_in
from noria.train.heads.head import Head, padded

MAX_KEPT_BYTES = 2 << 30
"""What is kept at most."""
NUM_CHECKED = 2
"""Inputs by which it is seen whether a base is what it is taken for."""
_OUTPUTS = ("logits", "start_logits", "end_logits")
_Key: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]


class RestingBase:
    """Stands in the place of a base's `forward`."""

    def __init__(self, base: Any) -> None:
        self._base, self._forward = base, base.forward
        self._kept: dict[_Key, torch.Tensor] = {}

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None, **rest: Any
    ) -> BaseModelOutputWithPoolingAndCrossAttentions:
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        keys = _keys(input_ids, attention_mask, token_type_ids)
        missing = [place for place, key in enumerate(keys) if key not in self._kept]
        states = [self._kept.get(key) for key in keys]
        if missing:
            for place, computed in zip(missing, self._computed({n: v[missing] for n, v in batch.items() if v is not None}, **rest), strict=True):
                states[place] = computed
        known = [one.float() for one in states if one is not None]
        hidden = torch.nn.utils.rnn.pad_sequence(known, batch_first=True)
        hidden = torch.nn.functional.pad(hidden, (0, 0, 0, input_ids.shape[1] - hidden.shape[1]))
        pooler = getattr(self._base, "pooler", None)
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=hidden, pooler_output=pooler(hidden) if isinstance(pooler, torch.nn.Module) else None
        )

    def keep(self, head: Head, inputs: Sequence[Input]) -> None:
        """Compute the states of inputs, as far as they may be kept; in an order that depends on nothing else, so that a killed run finds the same."""
        num_bytes = 0
        for part in in_parts(sorted(inputs, key=lambda one: len(one.token_ids)), MAX_TOKENS):
            batch = padded(part, head.tokenizer.pad_id, self._base.device, head.with_kinds)
            with products_in(head.precision, self._base.device):
                found = [states.half() for states in self._computed(batch)]
            num_bytes += sum(states.nbytes for states in found)
            if num_bytes > MAX_KEPT_BYTES:
                return
            self._kept |= {key: one.clone() for key, one in zip(_keys(**batch), found, strict=True) if bool(torch.isfinite(one).all())}

    @torch.no_grad()
    def _computed(self, batch: dict[str, torch.Tensor], **rest: Any) -> list[torch.Tensor]:
        """Of each input (time, dim), without what is padding."""
        self._base.eval()
        hidden = self._forward(**batch, **rest).last_hidden_state
        return [states[:length] for states, length in zip(hidden, batch["attention_mask"].sum(1).tolist(), strict=True)]


def _keys(input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None) -> list[_Key]:
    """What states are kept by: the tokens of each input, and which text of a pair each stands in."""
    lengths = attention_mask.sum(1).tolist()
    kinds = [[]] * len(lengths) if token_type_ids is None else token_type_ids.tolist()
    return [(tuple(ids[:n]), tuple(kind[:n])) for ids, kind, n in zip(input_ids.tolist(), kinds, lengths, strict=True)]


@contextmanager
def resting(head: Head, model: Any, inputs: Sequence[Input]) -> Generator[RestingBase | None]:
    """Within it the base of `model` is a `RestingBase`, which is given; None where it cannot be one.

    Args:
        inputs: some, by which that is seen.
    """
    base = model.base_model
    if base is model or model.config.is_encoder_decoder:
        yield None
        return
    batch = padded(inputs[:NUM_CHECKED], head.tokenizer.pad_id, model.device, head.with_kinds)
    plain = _said(model, batch)
    base.forward = made = RestingBase(base)
    try:
        fits = _says(model, batch, plain)
        if not fits:
            del base.forward
        yield made if fits else None
    finally:
        base.__dict__.pop("forward", None)


def _says(model: Any, batch: dict[str, torch.Tensor], known: list[torch.Tensor]) -> bool:
    try:
        found = _said(model, batch)
    except (AttributeError, RuntimeError, TypeError):  # a head that reads more of its base
        return False
    return all(one.shape == other.shape and torch.allclose(one, other, rtol=1e-2, atol=1e-3) for one, other in zip(known, found, strict=True))


@torch.no_grad()
def _said(model: Any, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """What a model makes of a batch where it is not padding."""
    model.eval()
    output, read = model(**batch), batch["attention_mask"].bool()
    found = [output[name] for name in _OUTPUTS if name in output]
    return [one[read] if one.shape[:2] == read.shape else one for one in found]
