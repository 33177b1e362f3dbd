"""Prompting and retrieval without a model: which cases are chosen, what is asked, how votes count."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from noria.data import AnswerExample, ChatExample, ClassifyExample
from noria.data.examples import Answers
from noria.data.task_checks import TaskFile
from noria.errors import ConfigError, DataError
from noria.lifecycle.adapt_untrained import _most, _standing, refuse_shares_of_one
from noria.lifecycle.cases import CaseBook, cases_of
from noria.lifecycle.untrained import CaseGenerator, CasesFile, Untrained, UntrainedConfig, fitting, placed
from noria.schema import GenerationRequest, Message, ToolCall
from noria.testing.scripted import ScriptedGenerator
from noria.train.sentences import SentenceEncoder

WORDS = ("card", "pay", "lost", "money", "room", "towel")


class Counting:
    """An encoder that counts six words: what is alike is seen at once."""

    def vectors(self, texts: Any) -> Any:
        found = np.array([[text.lower().count(word) for word in WORDS] for text in texts], dtype=np.float32) + 0.01
        return found / np.linalg.norm(found, axis=1, keepdims=True)


ENCODER = cast(SentenceEncoder, Counting())
ROWS = [
    ClassifyExample(text="my card is lost", label="card"),
    ClassifyExample(text="lost my card again", label="card"),
    ClassifyExample(text="pay money", label="pay"),
    ClassifyExample(text="pay money with the card", label="pay"),
]

MIXED = [ClassifyExample(text="card lost", label=("card", "lost")), ClassifyExample(text="card", label=("card",))]


def untrained(answers: Any = (), rows: Any = ROWS, **settings: Any) -> Untrained:
    given: dict[str, Any] = {"method": "prompting", "task": "classify", "encoder": "x", "base": "y", "num_examples": 2, "labels": ("card", "pay")}
    file = CasesFile(**{**given, **settings})
    return Untrained(file, CaseBook.of(rows, ENCODER), ScriptedGenerator(answers))


def test_the_nearest_cases_vote_by_their_likeness() -> None:
    one = untrained(method="retrieval", num_examples=3)
    [card, pay] = one.predictions([ClassifyExample(text="card lost"), ClassifyExample(text="money to pay")])
    assert (card["label"], pay["label"]) == ("card", "pay")
    assert 0.5 < card["score"] <= 1


def test_several_labels_are_those_with_half_of_the_votes() -> None:
    rows = [ClassifyExample(text="card lost", label=("card", "lost")), ClassifyExample(text="card", label=("card",))]
    [said] = untrained(rows=rows, method="retrieval", labels=("card", "lost"), several=True).predictions([ClassifyExample(text="card")])
    assert said["labels"] == ["card"]


def test_cases_are_shown_the_most_alike_last_and_labels_bind_the_answer() -> None:
    one = untrained(['{"label":"card"}'])
    assert list(one.predictions([ClassifyExample(text="a lost card")])) == [{"label": "card", "score": 1.0}]
    [asked] = cast(ScriptedGenerator, one.generator).requests
    shown = asked.messages[0].content
    assert shown.endswith(('lost\n{"label": "card"}', 'again\n{"label": "card"}'))
    assert asked.messages[-1].content == "a lost card"
    schema = cast(dict[str, Any], asked.response_schema)
    assert schema["properties"]["label"]["enum"] == ["card", "pay"]


def test_chosen_cases_are_unlike_one_another() -> None:
    rows = [ClassifyExample(text=text, label="x") for text in ("card lost", "card lost", "card lost", "card money")]
    book = CaseBook.of(rows, ENCODER)
    assert {cast(ClassifyExample, row).text for row in book.chosen("card lost money", 2)} == {"card lost", "card money"}


def test_a_thought_comes_first_and_votes_are_counted() -> None:
    answers = [json.dumps({"thought": "...", "label": label}) for label in ("pay", "card", "pay")]
    one = untrained(answers, thought=True, votes=3)
    assert list(one.predictions([ClassifyExample(text="card")])) == [{"label": "pay", "score": 0.6667}]
    requests = cast(ScriptedGenerator, one.generator).requests
    assert [request.seed for request in requests] == [0, 1, 2]
    assert all(list(cast(Any, request.response_schema)["properties"]) == ["thought", "label"] for request in requests)


def test_a_thought_without_an_end_is_left_out() -> None:
    one = untrained(['{"thought": "and so on and', '{"label":"pay"}'], thought=True)
    assert list(one.predictions([ClassifyExample(text="card")])) == [{"label": "pay", "score": 1.0}]


@pytest.mark.parametrize("several", [False, True])
def test_what_the_model_does_not_end_is_no_answer(several: bool) -> None:
    one = untrained(['{"label": "ca'], rows=MIXED if several else ROWS, several=several)
    [said] = one.predictions([ClassifyExample(text="card")])
    assert said == ({"labels": [], "scores": []} if several else {"label": "card", "score": 0.0})


def test_a_vote_counts_each_label_once() -> None:
    said = ['{"labels": ["card", "card"]}', '{"labels": ["lost"]}', '{"labels": []}']
    one = untrained(said, rows=MIXED, labels=("card", "lost"), several=True, votes=3)
    assert list(one.predictions([ClassifyExample(text="card")])) == [{"labels": [], "scores": []}]


def test_where_the_nearest_cases_have_no_label_the_first_ones_are_named() -> None:
    labels = tuple(f"l{number}" for number in range(50))
    one = untrained(['{"labels": []}'], rows=[ClassifyExample(text="card", label=())], labels=labels, several=True)
    assert [one["labels"] for one in one.predictions([ClassifyExample(text="card")])] == [[]]
    [asked] = cast(ScriptedGenerator, one.generator).requests
    assert "l0, l1" in asked.messages[0].content


def test_rows_without_an_answer_are_no_cases() -> None:
    greeting = ChatExample(messages=(Message(role="assistant", content="Welcome!"),), train=(True,))
    with pytest.raises(DataError, match="No row holds an answer"):
        CaseBook.of([greeting], ENCODER)


def test_many_texts_are_compared_in_parts_as_one_by_one() -> None:
    book = CaseBook.of(ROWS, ENCODER)
    texts = ["card lost", "pay", "money card"] * 200
    alone = [found for text in texts for found in book.nearest([text], 2)]
    for one, other in zip(book.nearest(texts, 2), alone, strict=True):
        assert [index for index, _ in one] == [index for index, _ in other]
        assert [likeness for _, likeness in one] == pytest.approx([likeness for _, likeness in other], abs=1e-6)


def test_an_answer_is_found_in_its_text() -> None:
    rows = [AnswerExample(question="Who pays?", context="The guest pays.", answers=Answers(text=("The guest",), answer_start=(0,)))]
    one = untrained(['{"answer":"lake"}', '{"answer":""}'], rows=rows, task="answer", labels=())
    said = list(one.predictions([AnswerExample(question="Where?", context="By the lake."), AnswerExample(question="When?", context="By the lake.")]))
    assert said == [{"answer": "lake", "start": 7, "score": 1.0}, {"answer": "", "start": -1, "score": 1.0}]


@pytest.mark.parametrize(
    ("said", "answer", "sure"),
    [
        (['{"answer":"lake"}', '{"answer": "by the', '{"answer": "by the'], "lake", 0.3333),
        (['{"answer": "by the'] * 3, "", 0.0),
        (['{"answer":""}', '{"answer":""}', '{"answer":"lake"}'], "", 0.6667),
    ],
)
def test_an_answer_without_an_end_does_not_say_that_there_is_none(said: list[str], answer: str, sure: float) -> None:
    rows = [AnswerExample(question="Who pays?", context="The guest pays.", answers=Answers(text=("The guest",), answer_start=(0,)))]
    [found] = untrained(said, rows=rows, task="answer", labels=(), votes=3).predictions([AnswerExample(question="Where?", context="By the lake.")])
    assert (found["answer"], found["score"]) == (answer, pytest.approx(sure, abs=1e-4))


def test_a_thought_in_chinese_has_room_and_the_answer_behind_it_too() -> None:
    """SmolLM2 takes two tokens for a character: with less, every thought is cut, and asked again without it."""
    for chinese in (False, True):
        one = untrained(['{"thought": "", "label": "card"}'], thought=True, chinese=chinese)
        list(one.predictions([ClassifyExample(text="card")]))
        [asked] = cast(ScriptedGenerator, one.generator).requests
        most = cast(Any, asked.response_schema)["properties"]["thought"]["maxLength"]
        assert asked.max_tokens >= 150 + most * (1.9 if chinese else 0.25)


def test_a_text_longer_than_the_model_is_named() -> None:
    one = untrained(lambda _: '{"label": "card"}')
    cast(ScriptedGenerator, one.generator).context_tokens = 1000
    rows = [ClassifyExample(text="card"), ClassifyExample(text="card " * 2000)]
    said = placed(one.predictions(rows), ["'dev.jsonl' line 1", "'dev.jsonl' line 7"])
    assert next(said)["label"] == "card"
    with pytest.raises(DataError, match=r"'dev.jsonl' line 7: 2\d+ tokens, .* than the 1000 .* Shorten the row"):
        next(said)


STRANGE = [*ROWS, ClassifyExample(text="a card with a towel in the room of money", label="out_of_scope")]


def test_texts_of_no_label_are_told_by_their_share_of_the_votes() -> None:
    rows = [*ROWS, ClassifyExample(text="card card", label="card"), ClassifyExample(text="pay pay", label="pay")]
    one = untrained(rows=rows, method="retrieval", num_examples=4)
    texts = ["lost card", "card lost lost", "pay", "pay money money", "card pay", "money card pay lost"]
    labels = ["card", "card", "pay", "pay", "out_of_scope", "out_of_scope"]
    held = {line: ClassifyExample(text=text, label=label) for line, (text, label) in enumerate(zip(texts, labels, strict=True), 1)}
    held_out = TaskFile(path=Path("dev.jsonl"), rows=held)
    found, file = _standing(one, None, held_out, 100, lambda *_: None)
    assert 0.5 < file.threshold < 1
    one.file = file
    said = [cast(Any, told)["label"] for told in one.predictions(list(held.values()))]
    assert "out_of_scope" in said[4:]
    assert found.score == sum(a == b for a, b in zip(said, labels, strict=True)) / 6 > 0.7


@pytest.mark.parametrize(
    ("settings", "told"), [({"method": "prompting"}, "Set `votes`"), ({"method": "retrieval", "num_examples": 1}, "Set `num_ex")]
)
def test_one_vote_cannot_tell_texts_of_no_label(settings: dict[str, Any], told: str) -> None:
    train, held_out = (TaskFile(path=Path("f.jsonl"), rows=dict(enumerate(rows, 1))) for rows in (ROWS, STRANGE))
    with pytest.raises(ConfigError, match=told):
        refuse_shares_of_one(UntrainedConfig(**settings), train, held_out)
    refuse_shares_of_one(UntrainedConfig(**settings), train, train)
    refuse_shares_of_one(UntrainedConfig(**{**settings, "votes" if settings["method"] == "prompting" else "num_examples": 3}), train, held_out)


@pytest.mark.parametrize(
    ("task", "settings", "rows"),
    [
        ("classify", {}, 24),
        ("classify", {"num_examples": 2}, 120),
        ("classify", {"votes": 2}, 12),
        ("chat", {}, 8),
        ("classify", {"minutes": None}, 300),
    ],
)
def test_a_model_is_asked_as_many_rows_as_the_minutes_allow_in_all(task: str, settings: dict[str, Any], rows: int) -> None:
    """Five askings, for half a second a label or two a text."""
    config = UntrainedConfig(**{"minutes": 1.0, **settings})
    assert _most(config, CasesFile(method="prompting", task=cast(Any, task), encoder="x", base="y"), 300) == rows


def call(name: str) -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id="c", name=name, arguments={"room": 3}),))


CHAT = ChatExample(
    messages=(
        Message(role="user", content="towel please"),
        call("bring"),
        Message(role="tool", content="ok", tool_call_id="c"),
        Message(role="assistant", content="On its way."),
        Message(role="user", content="my card is lost"),
        call("block"),
    ),
    train=(False, True, False, False, False, True),
)


def test_each_answer_to_learn_from_is_a_case() -> None:
    assert [len(cast(ChatExample, case).messages) for case in cases_of(CHAT)] == [2, 6]


def test_what_is_retrieved_is_the_answer_of_the_nearest_case() -> None:
    one = CaseGenerator(untrained(rows=[CHAT], method="retrieval", task="tools", num_examples=1))
    found = one.generate(GenerationRequest(messages=(Message(role="user", content="lost card"),)))
    assert (found.message.tool_calls[0].name, found.finish_reason) == ("block", "tool_calls")


def test_a_conversation_is_shown_cases_behind_its_own_system_message() -> None:
    one = untrained(["Yes."], rows=[CHAT], task="chat", num_examples=1)
    request = GenerationRequest(messages=(Message(role="system", content="You are a desk."), Message(role="user", content="a towel")))
    assert CaseGenerator(one).generate(request).message.content == "Yes."
    [asked] = cast(ScriptedGenerator, one.generator).requests
    assert asked.messages[0].content.startswith("You are a desk.\n\nPast cases")
    assert '{"bring":{"room":3}}' in asked.messages[0].content
    assert asked.messages[1:] == request.messages[1:]


def test_the_most_frequent_of_several_answers_counts() -> None:
    one = untrained([call("bring"), call("block"), call("block")], rows=[CHAT], task="tools", votes=3)
    found = CaseGenerator(one).generate(GenerationRequest(messages=(Message(role="user", content="towel"),)))
    assert found.message.tool_calls[0].name == "block"


def test_cases_that_do_not_fit_are_left_out_the_least_alike_first() -> None:
    generator = ScriptedGenerator(context_tokens=300)
    kept = fitting(generator, lambda shown: tuple(Message(role="user", content=row.text) for row in cast(Any, shown)), [
        ClassifyExample(text="far " * 90), ClassifyExample(text="near " * 40)
    ])  # fmt: skip
    assert [message.content[:4] for message in kept] == ["near"]


def test_cases_are_read_as_they_were_written(tmp_path: Path) -> None:
    CaseBook.of(ROWS, ENCODER).write(tmp_path)
    again = CaseBook.read(tmp_path, "classify", ENCODER)
    assert list(again.rows) == ROWS
    [[(index, likeness)]] = again.nearest(["card lost"], 1)
    assert (index, likeness) == (0, pytest.approx(1, abs=1e-3))
