"""Preference objectives: DPO on pairs, KTO on single answers with a thumb.

Both compare the log-probability of an answer under the model being tuned with that under the model it started from (the reference). The
reference's are computed once, in `prepare`, before the first step; no second model is kept in memory.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from noria.errors import DataError
from noria.model import Renderer
from noria.schema import Message, ToolSpec
from noria.train import Example, Loss, shared_prefix
from noria.train.attention import pack_row
from noria.train.output import token_logprobs


def sequence_logprobs(model: Any, examples: Sequence[Example], sides: Sequence[int]) -> torch.Tensor:
    """Sum of the log-probabilities of the weighted tokens: (examples, sides); `sides` picks sequences of each example."""
    picked = [(e.sequences[side], e.weights[side], e.prefix) for e in examples for side in sides]
    row = pack_row([p[0] for p in picked], [p[1] for p in picked], [p[2] for p in picked])
    logprobs = token_logprobs(model, row)
    sums = torch.zeros(len(picked), device=logprobs.device).index_add(0, torch.tensor(row.owners, device=logprobs.device), logprobs)
    return sums.view(len(examples), len(sides))


def with_reference(model: Any, examples: Sequence[Example]) -> list[Example]:
    """Each example with its sequences' log-probabilities under `model` as it is now; those of an earlier start of the run are kept."""
    return [e if e.reference else e.with_reference(tuple(sequence_logprobs(model, [e], range(len(e.sequences)))[0].tolist())) for e in examples]


class DirectPreference:
    """DPO (Rafailov et al. 2023, equation 7): -log sigmoid(beta [(log pi(y_w) - log ref(y_w)) - (log pi(y_l) - log ref(y_l))]).

    Args:
        beta: how strongly the tuned model is held to the reference.
        anchor: weight of the chosen answer's mean negative log-likelihood, which keeps it from becoming less likely together with the
            rejected one (the RPO term of Pang et al. 2024, equation 1); 0 is plain DPO.
    """

    name = "preference"

    def __init__(self, beta: float = 0.1, anchor: float = 0.2) -> None:
        self.beta = beta
        self.anchor = anchor

    def prepare(self, model: Any, examples: Sequence[Example]) -> list[Example]:
        return with_reference(model, examples)

    def loss(self, model: Any, examples: Sequence[Example]) -> Loss:
        logprobs = sequence_logprobs(model, examples, (0, 1))
        gain = logprobs - torch.tensor([e.reference for e in examples], device=logprobs.device)
        margin = self.beta * (gain[:, 0] - gain[:, 1])
        lengths = torch.tensor([sum(1 for w in e.weights[0][1:] if w > 0) for e in examples], device=logprobs.device)
        total = (-functional.logsigmoid(margin) - self.anchor * logprobs[:, 0] / lengths).sum()
        return Loss(total=total, metrics={"margin": margin.mean().item(), "accuracy": (margin > 0).float().mean().item()})


class KahnemanTversky:
    """KTO (Ethayarajh et al. 2024, equation 8), for answers that were only called good or bad.

    With r = log pi(y) - log ref(y) and z the model's divergence from the reference, estimated on mismatched answers and not
    differentiated: the loss is w_good (1 - sigmoid(beta (r - z))) for a good answer and w_bad (1 - sigmoid(beta (z - r))) for a bad one.
    The weights make good and bad count alike when one is rare (section 4.2 of the paper).
    """

    name = "thumbs"

    def __init__(self, beta: float = 0.1) -> None:
        self.beta = beta
        self.weight = {True: 1.0, False: 1.0}

    def prepare(self, model: Any, examples: Sequence[Example]) -> list[Example]:
        good = sum(1 for e in examples if e.label)
        bad = len(examples) - good
        self.weight = {True: min(4.0, max(1.0, bad / good)) if good else 1.0, False: min(4.0, max(1.0, good / bad)) if bad else 1.0}
        return with_reference(model, examples)

    def loss(self, model: Any, examples: Sequence[Example]) -> Loss:
        with torch.no_grad():
            mismatched = sequence_logprobs(model, examples, (1,))[:, 0]
            reference = torch.tensor([e.reference[1] for e in examples], device=mismatched.device)
            divergence = (mismatched - reference).mean().clamp(min=0)
        torch.clear_autocast_cache()  # weights rounded without gradients would be taken again with them by some versions of torch
        logprobs = sequence_logprobs(model, examples, (0,))[:, 0]
        reward = logprobs - torch.tensor([e.reference[0] for e in examples], device=logprobs.device)
        sign = torch.tensor([1.0 if e.label else -1.0 for e in examples], device=logprobs.device)
        weight = torch.tensor([self.weight[bool(e.label)] for e in examples], device=logprobs.device)
        total = (weight * (1 - torch.sigmoid(self.beta * sign * (reward - divergence)))).sum()
        return Loss(total=total, metrics={"divergence": divergence.item(), "reward": reward.mean().item()})


def encode_pair(
    renderer: Renderer, prompt: Sequence[Message], chosen: Sequence[Message], rejected: Sequence[Message], tools: Sequence[ToolSpec]
) -> Example:
    """A preference as an example: sequences are (chosen, rejected)."""
    better, worse = (_answer(renderer, prompt, answer, tools) for answer in (chosen, rejected))
    return Example(
        objective=DirectPreference.name,
        sequences=(better[0], worse[0]),
        weights=(better[1], worse[1]),
        prefix=min(_num_before(better[1]), _num_before(worse[1])),
    )


def encode_thumbs(renderer: Renderer, rows: Sequence[tuple[Sequence[Message], Sequence[Message], bool, Sequence[ToolSpec]]]) -> list[Example]:
    """Answers with thumbs as examples: sequences are (answer, the next row's answer to this prompt), the second to estimate divergence.

    Raises:
        DataError: a single row: its mismatched answer would be its own.
    """
    if len(rows) == 1:
        raise DataError("One thumb alone cannot be learnt from; collect at least two.")
    out: list[Example] = []
    for index, (prompt, answer, label, tools) in enumerate(rows):
        other = rows[(index + 1) % len(rows)][1]
        own, mismatched = (_answer(renderer, prompt, a, tools) for a in (answer, other))
        example = Example(
            objective=KahnemanTversky.name,
            sequences=(own[0], mismatched[0]),
            weights=(own[1], mismatched[1]),
            label=label,
            prefix=shared_prefix(renderer, prompt, tools),
        )
        out.append(example)
    return out


def _num_before(weights: Sequence[float]) -> int:
    """Tokens before the first that is learnt."""
    return next(at for at, weight in enumerate(weights) if weight > 0)


def _answer(
    renderer: Renderer, prompt: Sequence[Message], answer: Sequence[Message], tools: Sequence[ToolSpec]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Token ids of prompt and answer, and weight one on the answer's assistant messages."""
    train = [False] * len(prompt) + [m.role == "assistant" for m in answer]
    rendered = renderer.example([*prompt, *answer], tools, train)
    return tuple(rendered.token_ids), tuple(float(m) for m in rendered.loss_mask)
