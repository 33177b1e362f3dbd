"""Tools as lines of text: short, and without loss of what is allowed."""

import pytest

from noria.model.tool_text import describe_tool
from noria.schema import ToolSpec


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        (["1", "2", "3", "4", "5"], "1..5"),
        ([2, 3, 4, 5], "2..5"),
        (["1", "2", "3"], "1|2|3"),
        (["1", "2", "4", "5"], "1|2|4|5"),
        (["single", "double"], "single|double"),
    ],
)
def test_consecutive_numbers_are_a_range(choices: list[object], text: str) -> None:
    tool = ToolSpec(name="book", description="Book.", parameters={"type": "object", "properties": {"beds": {"enum": choices}}, "required": ["beds"]})
    assert describe_tool(tool) == f"book(beds:{text}) Book."
