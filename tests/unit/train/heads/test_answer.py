"""Answers: windows with a question as long as the room, spans of byte-level tokens, and when none is given."""

import numpy as np
import pytest

from noria.data import AnswerExample
from noria.engine.heads import Wrap
from noria.model import Tokenizer, train_tokenizer
from noria.train.heads.answer import Answer
from noria.train.heads.scope import cut_of_margins

CONTEXT = "anna lives in paris now"


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return train_tokenizer("wordpiece", [CONTEXT, "who lives there"] * 30, 200, "mlm-nsp", at_most=True)


def asked(question: str = "who", context: str = CONTEXT, answer: str | None = None) -> AnswerExample:
    found = {"text": [answer], "answer_start": [context.index(answer)]} if answer else {"text": [], "answer_start": []}
    return AnswerExample.model_validate({"question": question, "context": context, "answers": found})


@pytest.mark.parametrize("text", ["", " "])
def test_an_answer_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="both empty lists"):
        AnswerExample.model_validate({"question": "who", "context": CONTEXT, "answers": {"text": [text], "answer_start": [4 if text else 0]}})


def test_a_question_as_long_as_the_room_leaves_half_of_it_and_is_counted(words: Tokenizer) -> None:
    head = Answer(words, Wrap.of(words, 32), stride=64)
    row = asked("who lives there " * 40, CONTEXT + " lives" * 200, "paris")
    inputs = head.inputs([row])
    assert all(len(one.token_ids) <= 32 for one in inputs)
    assert inputs[0].num_cut == len(words.encode(row.question)) - head.cut_field[1] > 0
    assert len(inputs) < 60
    assert any(one.target != (0, 0) for one in inputs)


def test_an_answer_between_tokens_is_in_no_window(words: Tokenizer) -> None:
    head = Answer(words, Wrap.of(words, 32))
    context = "anna \u200b lives"
    row = asked(context=context, answer="\u200b")
    assert [one.target for one in head.inputs([row])] == [(0, 0)]


def test_answers_that_are_never_given_are_counted(words: Tokenizer) -> None:
    head = Answer(words, Wrap.of(words, 32))
    long = ("lives " * 65).strip()
    rows = [asked(context=long, answer=long), asked(context=long, answer=long[: 64 * 6 - 1]), asked(answer="paris"), asked()]
    assert head.too_long(rows) == "1 of 4 rows have only answers of more than 64 tokens, which are never given. Mark shorter ones."
    assert head.too_long(rows[1:]) is None


def test_a_span_does_not_begin_with_the_space_that_its_token_holds() -> None:
    bytes_of = train_tokenizer("bpe", [CONTEXT] * 30, 300, "clm", at_most=True)
    head = Answer(bytes_of, Wrap.of(bytes_of, 64), none_margin=None)
    row = asked(answer="paris")
    [one] = head.inputs([row])
    first, last = one.target
    assert CONTEXT[one.places[first][0]] == " "
    outputs = np.zeros((2, len(one.token_ids)), dtype=np.float32)
    outputs[0, first] = outputs[1, last] = 9.0
    [said] = head.predictions([row], [one], [outputs])
    assert (said.output["answer"], said.output["start"]) == ("paris", CONTEXT.index("paris"))


def test_where_every_question_has_an_answer_one_is_always_given(words: Tokenizer) -> None:
    row = asked(answer="paris")
    for margin, said in ((None, "paris"), (0.0, "")):
        head = Answer(words, Wrap.of(words, 32), none_margin=margin)
        [one] = head.inputs([row])
        outputs = np.zeros((2, len(one.token_ids)), dtype=np.float32)
        outputs[:, 0] = 50.0
        outputs[0, one.target[0]] = outputs[1, one.target[1]] = 9.0
        assert head.predictions([row], [one], [outputs])[0].output["answer"] == said


def test_the_cut_of_margins_is_the_best_one() -> None:
    margins = [-5.0, -3.0, -3.0, -1.0, 2.0]
    answered, refused = [0.0, 0.0, 0.5, 0.8, 1.0], [1.0, 1.0, 0.0, 0.0, 0.0]
    cut = cut_of_margins(margins, answered, refused)
    assert cut == -2.0

    def gained(at: float) -> float:
        return sum(r if margin < at else a for margin, a, r in zip(margins, answered, refused, strict=True))

    assert gained(cut) == max(gained(at / 10) for at in range(-70, 40))
