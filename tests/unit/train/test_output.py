"""The output layer's loss is cross-entropy, and so are its gradients."""

import pytest
import torch
from torch.nn import functional

from noria.train import output


@pytest.mark.parametrize("chunk_bytes", [32 << 20, 4 * 11 * 16])
def test_loss_and_gradients_are_those_of_cross_entropy(monkeypatch: pytest.MonkeyPatch, chunk_bytes: int) -> None:
    monkeypatch.setattr(output, "CHUNK_BYTES", chunk_bytes)
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(50, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True), torch.randint(0, 11, (50,))
    mine = output.summed_loss(hidden, weight, targets) / 7
    found = torch.autograd.grad(mine, (hidden, weight))
    theirs = functional.cross_entropy(hidden @ weight.T, targets, reduction="sum") / 7
    torch.testing.assert_close(mine, theirs)
    for a, b in zip(found, torch.autograd.grad(theirs, (hidden, weight)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_without_gradients_the_loss_is_the_same() -> None:
    torch.manual_seed(0)
    hidden, weight, targets = torch.randn(9, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True), torch.randint(0, 5, (9,))
    with torch.no_grad():
        scored = output.summed_loss(hidden, weight, targets)
    torch.testing.assert_close(scored, output.summed_loss(hidden, weight, targets).detach())
