"""DPO and KTO against their formulas written out, and what training with them does to the answers."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from noria.align.preference import DirectPreference, KahnemanTversky, sequence_logprobs
from noria.testing.tiny_training import tiny_model
from noria.train import Example, TuneConfig, train
from noria.train.attention import use_packed_attention

PROMPT = (3, 4, 5, 6, 7)


def pair(good: tuple[int, ...], bad: tuple[int, ...]) -> Example:
    sides = [(*PROMPT, *answer) for answer in (good, bad)]
    weights = [[0.0] * len(PROMPT) + [1.0] * len(answer) for answer in (good, bad)]
    return Example(objective="preference", sequences=(sides[0], sides[1]), weights=(tuple(weights[0]), tuple(weights[1])), prefix=len(PROMPT))


def thumb(answer: tuple[int, ...], other: tuple[int, ...], label: bool) -> Example:
    base = pair(answer, other)
    return Example(objective="thumbs", sequences=base.sequences, weights=base.weights, label=label)


def plain_logprob(model: object, tokens: tuple[int, ...]) -> float:
    logits = model(input_ids=torch.tensor([tokens])).logits[0, :-1]  # type: ignore[operator]
    picked = functional.log_softmax(logits, -1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0]
    return picked[len(PROMPT) - 1 :].sum().item()


EXAMPLES = [pair((20, 21), (30, 31, 32)), pair((40,), (41, 42))]


def test_sequence_logprobs_are_transformers_own() -> None:
    model = tiny_model()
    expected = [[plain_logprob(model, s) for s in e.sequences] for e in EXAMPLES]
    use_packed_attention(model)
    with torch.no_grad():
        torch.testing.assert_close(sequence_logprobs(model, EXAMPLES, (0, 1)), torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_dpo_is_its_formula() -> None:
    reference, policy = tiny_model(0), tiny_model(1)
    ref = [[plain_logprob(reference, s) for s in e.sequences] for e in EXAMPLES]
    pol = [[plain_logprob(policy, s) for s in e.sequences] for e in EXAMPLES]
    expected = sum(math.log1p(math.exp(-0.3 * ((p[0] - r[0]) - (p[1] - r[1])))) for p, r in zip(pol, ref, strict=True))
    use_packed_attention(reference)
    use_packed_attention(policy)
    objective = DirectPreference(beta=0.3, anchor=0.0)
    with torch.no_grad():
        prepared = objective.prepare(reference, EXAMPLES)
        loss = objective.loss(policy, prepared)
    assert loss.total.item() == pytest.approx(expected, abs=1e-4)


def test_kto_is_its_formula() -> None:
    reference, policy = tiny_model(0), tiny_model(1)
    examples = [thumb((20, 21), (40,), True), thumb((40,), (20, 21), False), thumb((25,), (40,), True)]
    own, other = ([[plain_logprob(m, e.sequences[side]) for e in examples] for m in (policy, reference)] for side in (0, 1))
    z = max(0.0, sum(p - r for p, r in zip(*other, strict=True)) / 3)
    rewards = [p - r for p, r in zip(*own, strict=True)]

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    weight = {True: 1.0, False: 2.0}  # two good, one bad
    expected = sum(weight[bool(e.label)] * (1 - sigmoid((1 if e.label else -1) * 0.2 * (r - z))) for e, r in zip(examples, rewards, strict=True))
    use_packed_attention(reference)
    use_packed_attention(policy)
    objective = KahnemanTversky(beta=0.2)
    with torch.no_grad():
        loss = objective.loss(policy, objective.prepare(reference, examples))
    assert loss.total.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_moves_answers_the_way_people_said(tmp_path: Path, method: str) -> None:
    examples = [*EXAMPLES, thumb((50, 51), (60, 61), True), thumb((60, 61), (50, 51), False)]
    model = tiny_model()
    before = [[plain_logprob(model, s) for s in e.sequences] for e in examples]
    config = TuneConfig(method=method, learning_rate=5e-3, epochs=20, batch_tokens=200, rank=4, threads=1)  # type: ignore[arg-type]
    tuned = train(model, examples, [DirectPreference(), KahnemanTversky()], config, tmp_path).model
    after = [[plain_logprob(tuned, s) for s in e.sequences] for e in examples]
    gain = [[a - b for a, b in zip(*sides, strict=True)] for sides in zip(after, before, strict=True)]
    assert all(g[0] > g[1] + 0.5 for g in gain[:2])
    assert gain[2][0] > gain[3][0] + 0.5
