"""What rows share that are no independent draws of each other."""

from noria.data import AnswerExample, ClassifyExample, EmbedExample
from noria.lifecycle.standing import group_of


def test_rows_that_ask_about_the_same_are_drawn_together() -> None:
    assert group_of(ClassifyExample(text="a"), "7") == "7"
    assert group_of(AnswerExample(question="Who?", context="It was she."), "7") == "It was she."
    assert group_of(EmbedExample(text="a", positive="b", id="x"), "7") == group_of(EmbedExample(text="a", positive="c", id="y"), "8")
    assert group_of(EmbedExample(text="a", positive="b", metadata={"conversation": "one"}), "7") == "one"
