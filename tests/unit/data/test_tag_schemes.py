"""Which tags may stand behind one another, and what they mark."""

import pytest

from noria.data.tag_schemes import entities, first_break, scheme_of


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O", "B-PER", "I-PER"], "BIO"),
        (["B-NAME", "M-NAME", "E-NAME", "S-LOC"], "BMES"),
        (["B-PER", "E-PER", "O"], "BMES"),
        (["B-PER", "I-PER", "E-PER", "S-LOC"], "IOBES"),
        (["O", "O"], "BIO"),
    ],
)
def test_a_scheme_is_known_by_its_tags_and_takes_them(tags: list[str], scheme: str) -> None:
    assert scheme_of(tags) == scheme
    assert first_break(tags, scheme_of(tags)) is None


@pytest.mark.parametrize(
    ("tags", "scheme", "at"),
    [
        (["O", "I-PER"], "BIO", 1),
        (["I-PER"], "BIO", 0),
        (["B-PER", "I-LOC"], "BIO", 1),
        (["B-PER", "O"], "BMES", 1),
        (["O", "M-PER"], "BMES", 1),
        (["B-PER", "M-PER"], "BMES", 2),
        (["S-PER", "E-PER"], "BMES", 1),
    ],
)
def test_the_first_tag_that_breaks_a_scheme_is_found(tags: list[str], scheme: str, at: int) -> None:
    assert first_break(tags, scheme) == at  # type: ignore[arg-type]


def test_entities_are_what_the_tags_mark() -> None:
    assert entities(["B-A", "I-A", "O", "B-B", "B-B"]) == [(0, 2, "A"), (3, 4, "B"), (4, 5, "B")]
    assert entities(["B-A", "M-A", "E-A", "S-B", "S-B"]) == [(0, 3, "A"), (3, 4, "B"), (4, 5, "B")]
    assert entities(["I-A", "I-B"]) == [(0, 1, "A"), (1, 2, "B")]
