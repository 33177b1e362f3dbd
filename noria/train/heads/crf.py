"""A linear-chain conditional random field over tags (Lafferty, McCallum and Pereira 2001).

p(y | x) = exp(sum_t e_t(y_t) + sum_t A[y_t-1, y_t] + b[y_1] + c[y_T]) / Z(x), with emissions e from the model, and transitions A, beginnings b and
endings c learnt beside it. Z by the forward algorithm; the best tags are found by `noria.engine.heads.tagger`. Tags that no scheme allows behind
one another never follow. In a window of a longer row b and c count only where the row itself begins and ends.
"""

import torch

from noria.engine.heads.tagger import NEVER


class Transitions(torch.nn.Module):
    """A, b and c over `num_tags` tags.

    Args:
        allowed: which tag may follow which (from, to); first and last: which may begin and end.
    """

    not_between: torch.Tensor
    not_begin: torch.Tensor
    not_end: torch.Tensor

    def __init__(self, allowed: torch.Tensor, first: torch.Tensor, last: torch.Tensor) -> None:
        super().__init__()
        self.between = torch.nn.Parameter(torch.zeros(allowed.shape))
        self.begin = torch.nn.Parameter(torch.zeros(first.shape))
        self.end = torch.nn.Parameter(torch.zeros(last.shape))
        self.register_buffer("not_between", (~allowed).float() * NEVER)
        self.register_buffer("not_begin", (~first).float() * NEVER)
        self.register_buffer("not_end", (~last).float() * NEVER)

    def scores(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A (from, to), b and c, with what is not allowed at `NEVER`."""
        return self.between + self.not_between, self.begin + self.not_begin, self.end + self.not_end

    def loss(self, emissions: torch.Tensor, tags: torch.Tensor, mask: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """-sum_n log p(y_n | x_n).

        Args:
            emissions: (rows, time, tags). tags: (rows, time). mask: (rows, time), true on words; every row begins with one and has no gaps.
            whole: (rows, 2), whether a row begins with the first of these words, and ends with the last.
        """
        between, begin, end = self.scores()
        begin, end = begin * whole[:, :1], end * whole[:, 1:]  # (rows, tags)
        rows = torch.arange(len(tags), device=tags.device)
        alpha = begin + emissions[:, 0]
        gold = begin[rows, tags[:, 0]] + emissions[rows, 0, tags[:, 0]]
        for t in range(1, emissions.shape[1]):
            here = mask[:, t]
            step = torch.logsumexp(alpha[:, :, None] + between, dim=1) + emissions[:, t]
            alpha = torch.where(here[:, None], step, alpha)
            gold = gold + torch.where(here, between[tags[:, t - 1], tags[:, t]] + emissions[rows, t, tags[:, t]], 0.0)
        last = tags[rows, mask.sum(1) - 1]
        return (torch.logsumexp(alpha + end, dim=1) - gold - end[rows, last]).sum()
