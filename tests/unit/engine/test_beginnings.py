"""Which prompts wait for one that begins alike, and until when."""

from noria.engine.beginnings import BLOCK_TOKENS, MIN_BLOCKS, Beginnings, blocks_of

SYSTEM = list(range(4 * BLOCK_TOKENS))


def prompt(own: int, system: list[int] = SYSTEM) -> list[int]:
    """A prompt with the shared system prompt and two blocks of its own."""
    return [*system, *([1000 + own] * (2 * BLOCK_TOKENS))]


def blocks(own: int) -> list[int]:
    return blocks_of(prompt(own))


def test_blocks_are_whole_and_know_what_came_before_them() -> None:
    assert [len(blocks_of([7] * n)) for n in (0, BLOCK_TOKENS - 1, BLOCK_TOKENS, 2 * BLOCK_TOKENS + 1)] == [0, 0, 1, 2]
    assert blocks(1)[:4] == blocks(2)[:4]
    assert not set(blocks(1)[4:]) & set(blocks(2)[4:])
    assert not set(blocks_of([9, *SYSTEM])) & set(blocks_of(SYSTEM))


def test_the_first_does_not_wait_and_the_others_do_until_it_is_read() -> None:
    beginnings = Beginnings()
    assert not beginnings.worth_waiting(blocks(1))
    beginnings.start(1, blocks(1))
    assert [beginnings.worth_waiting(blocks(own)) for own in (2, 3)] == [True, True]
    beginnings.end(1, read=True)
    assert [beginnings.worth_waiting(blocks(own)) for own in (2, 3)] == [False, False]


def test_what_has_been_read_once_is_not_waited_for_again() -> None:
    beginnings = Beginnings()
    beginnings.start(1, blocks(1))
    beginnings.end(1, read=True)
    beginnings.start(2, blocks(2))
    assert not beginnings.worth_waiting(blocks(3))
    assert beginnings.worth_waiting(blocks(2))  # its own part is being read for another


def test_an_abandoned_prompt_is_not_waited_for() -> None:
    beginnings = Beginnings()
    for request_id in (1, 2):
        beginnings.start(request_id, blocks(request_id))
    beginnings.end(1, read=False)
    assert beginnings.worth_waiting(blocks(3))  # the second still reads it
    beginnings.end(2, read=False)
    beginnings.end(2, read=True)  # only the first call counts
    assert not beginnings.worth_waiting(blocks(3))
    beginnings.start(3, blocks(3))
    assert beginnings.worth_waiting(blocks(4))


def test_little_in_common_is_not_waited_for() -> None:
    beginnings = Beginnings()
    shared = SYSTEM[: MIN_BLOCKS * BLOCK_TOKENS]
    beginnings.start(1, blocks_of(prompt(1, shared)))
    assert beginnings.worth_waiting(blocks_of(prompt(2, shared)))
    assert not beginnings.worth_waiting(blocks_of(prompt(2, shared[:-1])))


def test_what_was_read_longest_ago_is_forgotten() -> None:
    beginnings = Beginnings(max_blocks=6)
    for request_id in (1, 2):
        beginnings.start(request_id, blocks(request_id))
        beginnings.end(request_id, read=True)
    beginnings.start(3, blocks(1))
    assert beginnings.worth_waiting(blocks(1))  # its own two blocks have been forgotten, the system prompt has not
    assert not beginnings.worth_waiting(blocks(4))
