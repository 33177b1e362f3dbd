from datetime import date

import pytest

from noria.errors import DataError
from noria.schema import Message
from noria.store import Database, FeedbackLog, Traces

HELLO = Message(role="user", content="hi")


@pytest.fixture
def receipts(traces: Traces) -> list[str]:
    """Three finished turns, the last two of one conversation."""
    ids = []
    for texts in (("a",), ("b", "c")):
        conversation = traces.start_conversation("rel_1", "ada", date(2026, 3, 4))
        for text in texts:
            turn = traces.start_turn(conversation.id, [HELLO])
            step = traces.start_step(turn.id, "model", {})
            traces.finish_step(step.id, "done", {}, [Message(role="assistant", content=text)])
            traces.finish_turn(turn.id, "done", Message(role="assistant", content=text))
            ids.append(turn.id)
    return ids


def test_seven_kinds_come_back(database: Database, clock, receipts: list[str]) -> None:
    log = FeedbackLog(database, clock)
    values = {
        "thumb": True,
        "score": 0.75,
        "comment": "不错 nice",
        "demonstration": "Good evening.",
        "preference": {"chosen": "yes", "rejected": "no"},
        "outcome": {"success": False, "reason": "no table"},
        "implicit": {"signal": "repeated"},
    }
    added = [log.add(receipts[0], kind, value, "bob", "operator", step=0) for kind, value in values.items()]
    assert log.list() == added
    assert [f.kind for f in added] == list(values)
    assert added[3].value == {"role": "assistant", "content": "Good evening."}


def test_filters_and_counts(database: Database, clock, traces: Traces, receipts: list[str]) -> None:
    log = FeedbackLog(database, clock)
    first = log.add(receipts[0], "thumb", True, "ann", "user")
    second = log.add(receipts[1], "thumb", False, "bob", "user")
    third = log.add(receipts[2], "comment", "hm", "bob", "operator")
    assert log.list(kind="thumb") == [first, second]
    assert log.list(source="bob", role="user") == [second]
    assert log.list(receipt=receipts[2]) == [third]
    assert log.list(since=second.created_at) == [second, third]
    assert log.list(until=second.created_at) == [first]
    assert log.list(limit=1, newest_first=True) == [third]
    conversation = traces.conversations_of([receipts[1]])[receipts[1]]
    assert log.list(conversation_id=conversation.id) == [second, third]
    assert log.stats() == {
        "total": 3,
        "by_kind": {"comment": 1, "thumb": 2},
        "by_role": {"operator": 1, "user": 2},
        "sources": 2,
        "turns": 3,
        "conversations": 2,
        "thumbs": {"up": 1, "down": 1},
        "first": first.created_at.isoformat(),
        "last": third.created_at.isoformat(),
    }


def test_no_feedback_counts_nothing(database: Database) -> None:
    stats = FeedbackLog(database).stats()
    assert (stats["total"], stats["by_kind"], stats["last"]) == (0, {}, None)


@pytest.mark.parametrize(
    ("piece", "says"),
    [
        ({"receipt": "turn_none"}, "No answer has the receipt 'turn_none'"),
        ({"kind": "star"}, "Feedback `kind` is 'star'; allowed: thumb"),
        ({"value": 1}, "of kind 'thumb' is true or false, not 1"),
        ({"value": None}, "of kind 'thumb' is true or false, not null"),
        ({"kind": "score", "value": True}, "of kind 'score' is a number from 0 to 1, not true"),
        ({"step": 9}, "Feedback `step` is 9; the answer .* has the decisions 0 to 0"),
        ({"step": -1}, "Feedback `step` is -1"),
        ({"role": "boss"}, "Feedback field `role` is 'boss'"),
    ],
)
def test_what_does_not_fit_is_refused(database: Database, receipts: list[str], piece: dict[str, object], says: str) -> None:
    log = FeedbackLog(database)
    good = {"receipt": receipts[0], "kind": "thumb", "value": True, "source": "ann", "role": "user"}
    with pytest.raises(DataError, match=says) as told:
        log.add(**{**good, **piece})
    assert told.value.field == list(piece)[-1]
    with pytest.raises(DataError, match=f"line 2: .*{says}"):
        log.add_many([good, {**good, **piece}], ["line 1", "line 2"])
    assert log.list() == [], "all or none"
