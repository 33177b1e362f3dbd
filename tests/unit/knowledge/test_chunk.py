"""Pieces of a document: headings, lengths, nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noria.knowledge.chunk import Chunk, chunks, width


def test_pieces_carry_the_headings_they_stand_under() -> None:
    text = "intro\n\n# Hotel\n## Breakfast\nFrom 7.\n\n### Sunday\nFrom 8.\n\n## Pool ##\nOpen.\n\nBar\n---\nLate."
    assert chunks(text) == [
        Chunk((), "intro"),
        Chunk(("Hotel", "Breakfast"), "From 7."),
        Chunk(("Hotel", "Breakfast", "Sunday"), "From 8."),
        Chunk(("Hotel", "Pool"), "Open."),
        Chunk(("Hotel", "Bar"), "Late."),
    ]


def test_a_hash_in_a_code_fence_is_no_heading() -> None:
    assert chunks("# A\n```\n# not a heading\n```") == [Chunk(("A",), "```\n# not a heading\n```")]


def test_links_and_emphasis_leave_their_text() -> None:
    assert chunks("See **the [menu](https://x.y/z)** and `this`.")[0].text == "See the menu and this."


def test_paragraphs_are_packed_and_long_ones_cut_at_sentences() -> None:
    assert [c.text for c in chunks("aaaa\n\nbbbb\n\ncccc", max_width=10)] == ["aaaa\n\nbbbb", "cccc"]
    assert [c.text for c in chunks("One is here. Two is there. Three.", max_width=15)] == ["One is here.", "Two is there.", "Three."]
    assert [c.text for c in chunks("今天早餐七点。明天八点。", max_width=14)] == ["今天早餐七点。", "明天八点。"]


@pytest.mark.parametrize("text", ["x" * 5000, "字" * 3000, "word " * 900, "一句话。" * 700, ("line\n" * 400)])
def test_no_piece_is_too_wide(text: str) -> None:
    assert max(width(c.text) for c in chunks(text, max_width=300)) <= 300


@given(st.text(alphabet="ab 。.!\n字词", max_size=400))
def test_nothing_is_lost(text: str) -> None:
    joined = "".join("".join(c.text.split()) for c in chunks(text, max_width=20))
    assert joined == "".join(text.split())
