"""The random field against every path written out."""

import itertools

import torch

from noria.engine.heads.tagger import best_path
from noria.train.heads.crf import Transitions


def field(num_tags: int, seed: int = 0) -> Transitions:
    torch.manual_seed(seed)
    every = torch.ones(num_tags, num_tags, dtype=torch.bool)
    made = Transitions(every, every[0], every[0])
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def best(made: Transitions, emissions: torch.Tensor) -> list[int]:
    between, begin, end = (part.detach().numpy() for part in made.scores())
    return best_path(emissions.numpy(), between, begin, end)


def path_score(made: Transitions, emissions: torch.Tensor, path: tuple[int, ...], opens: bool = True, closes: bool = True) -> float:
    between, begin, end = (part.detach() for part in made.scores())
    total = opens * begin[path[0]] + closes * end[path[-1]] + sum(emissions[t, tag] for t, tag in enumerate(path))
    return float(total + sum(between[a, b] for a, b in itertools.pairwise(path)))


def test_loss_and_best_path_are_those_of_all_paths_written_out() -> None:
    made = field(3)
    lengths = [4, 2]
    emissions = torch.randn(2, 4, 3)
    tags = torch.tensor([[0, 2, 1, 1], [2, 0, 0, 0]])
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    wanted = 0.0
    for row, length in enumerate(lengths):
        paths = list(itertools.product(range(3), repeat=length))
        scores = torch.tensor([path_score(made, emissions[row], path) for path in paths])
        wanted += float(scores.logsumexp(0)) - path_score(made, emissions[row], tuple(tags[row, :length].tolist()))
        assert best(made, emissions[row, :length]) == list(paths[int(scores.argmax())])
    assert abs(made.loss(emissions, tags, mask, torch.ones(2, 2, dtype=torch.bool)).item() - wanted) < 1e-4


def test_what_is_not_allowed_is_never_chosen() -> None:
    allowed = torch.tensor([[True, False], [True, True]])
    made = Transitions(allowed, torch.tensor([True, True]), torch.tensor([True, True]))
    emissions = torch.tensor([[5.0, 0.0], [0.0, 5.0], [0.0, 5.0]])
    assert all((a, b) != (0, 1) for a, b in itertools.pairwise(best(made, emissions)))


def test_what_begins_and_ends_a_row_does_not_count_at_the_borders_of_a_window() -> None:
    made = field(3)
    emissions, tags, mask = torch.randn(2, 3, 3), torch.tensor([[0, 2, 1], [2, 0, 0]]), torch.ones(2, 3, dtype=torch.bool)
    whole = torch.tensor([[False, True], [True, False]])
    wanted = 0.0
    for row, (opens, closes) in enumerate(whole.tolist()):
        scores = [path_score(made, emissions[row], path, opens, closes) for path in itertools.product(range(3), repeat=3)]
        wanted += float(torch.tensor(scores).logsumexp(0)) - path_score(made, emissions[row], tuple(tags[row].tolist()), opens, closes)
    assert abs(made.loss(emissions, tags, mask, whole).item() - wanted) < 1e-4
