"""Order and packing: everything is seen once an epoch, nothing exceeds the budget, and the order depends on seed and epoch alone."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from noria.testing.tiny_training import tiny_examples
from noria.train import Example, pack
from noria.train.batches import schedule


def example(length: int, first: int = 0, objective: str = "supervised") -> Example:
    return Example(objective=objective, sequences=(tuple([first] * length),), weights=(tuple([1.0] * length),), prefix=min(2, length - 1))


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3), st.sampled_from(["a", "b"])), min_size=1, max_size=40), st.integers(5, 60))
def test_an_epoch_holds_every_example_once_within_the_budget(shapes: list[tuple[int, int, str]], budget: int) -> None:
    examples = [example(*shape) for shape in shapes]
    seen: list[int] = []
    for batch in schedule(examples, budget, seed=3):
        assert len({examples[i].objective for i in batch}) == 1
        assert len(batch) == 1 or sum(examples[i].num_tokens for i in batch) <= budget
        seen += batch
        if len(seen) >= len(examples):
            break
    assert sorted(seen) == list(range(len(examples)))


def test_the_order_is_the_seeds_alone() -> None:
    examples = tiny_examples(30)
    first, again, other = (list(islice(schedule(examples, 40, seed), 40)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_examples_that_begin_alike_come_together() -> None:
    examples = [example(10, first=index % 4) for index in range(64)]
    batches = list(islice(schedule(examples, 40, seed=0), 16))
    assert all(len({examples[i].sequences[0][0] for i in batch}) == 1 for batch in batches)


def test_a_long_example_stands_alone() -> None:
    examples = [example(5), example(50), example(5)]
    assert pack(examples, [0, 1, 2], 12) == [[0], [1], [2]] or [1] in pack(examples, [0, 1, 2], 12)
