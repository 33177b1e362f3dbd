"""Supervised tuning on conversations: the assistant's tokens are learnt, everything else is context."""

from collections.abc import Sequence
from typing import Any

import torch

from noria.model import Renderer
from noria.schema import Message, ToolSpec
from noria.train.attention import pack_row
from noria.train.batches import Example
from noria.train.objective import Loss
from noria.train.output import token_logprobs


class Supervised:
    """Negative log-likelihood of the weighted tokens, -sum_t w_t log p(x_t | x_<t) (Radford et al. 2018, with weights)."""

    name = "supervised"

    def prepare(self, _model: Any, examples: Sequence[Example]) -> list[Example]:
        return list(examples)

    def loss(self, model: Any, examples: Sequence[Example]) -> Loss:
        row = pack_row([e.sequences[0] for e in examples], [e.weights[0] for e in examples], [e.prefix for e in examples])
        logprobs = token_logprobs(model, row)
        return Loss(total=-(logprobs * torch.tensor(row.weights, device=logprobs.device)).sum())


def encode_chat(
    renderer: Renderer, messages: Sequence[Message], tools: Sequence[ToolSpec], train: Sequence[bool] | None = None, call_weight: float = 1.0
) -> Example:
    """A conversation as an example: rendered as it would be served.

    Args:
        train: which messages are learnt; None: every assistant message.
        call_weight: weight of a tool call's tokens, and of the first token of a reply, which decides that it is no call; its others weigh 1.
    """
    rendered = renderer.example(messages, tools, train)
    weights = [float(learnt) for learnt in rendered.loss_mask]
    if call_weight != 1.0:
        calls = renderer.example(messages, tools, [bool(m.tool_calls) and (train is None or train[i]) for i, m in enumerate(messages)])
        heavy = [call or _begins(rendered.loss_mask, i) for i, call in enumerate(calls.loss_mask)]
        weights = [call_weight if is_heavy else weight for weight, is_heavy in zip(weights, heavy, strict=True)]
    return Example(
        objective=Supervised.name,
        sequences=(tuple(rendered.token_ids),),
        weights=(tuple(weights),),
        prefix=shared_prefix(renderer, messages, tools),
    )


def _begins(loss_mask: Sequence[bool], index: int) -> bool:
    """Whether the first token of something learnt stands there."""
    return loss_mask[index] and not (index and loss_mask[index - 1])


def shared_prefix(renderer: Renderer, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> int:
    """Tokens of the system message and the tools: what many conversations of one project begin with."""
    num_leading = 1 if messages and messages[0].role == "system" else 0
    if not (num_leading or tools) or renderer.style != "chatml":
        return 0
    return len(renderer.example(messages[:num_leading], tools).token_ids)
