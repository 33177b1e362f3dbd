"""Rows of the trace tables to records, inside the caller's transaction."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, select

from noria.errors import DataError
from noria.schema import Conversation, Message, Record, Step, Turn, canonical_json
from noria.store import blobs, tables

StoredRow = RowMapping | Mapping[str, Any]


class Entry(Record):
    """One message of a conversation with where it stands: its position, its turn, and the step that made it (None: it came in)."""

    position: int
    turn_id: str
    step_id: str | None
    message: Message


def dump_json(value: Any, what: str, field: str | None = None) -> str:
    """The canonical JSON of a value. Raises DataError, of `field`, for what JSON cannot say."""
    try:
        return canonical_json(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} cannot be stored as JSON: {error}.", field) from error


def read_conversation(row: StoredRow) -> Conversation:
    return Conversation(
        id=row["id"],
        release_id=row["release_id"],
        user_id=row["user_id"],
        today=row["today"],
        created_at=row["created_at"],
        metadata=json.loads(row["metadata"]),
    )


def read_turns(connection: Connection, rows: Sequence[StoredRow]) -> list[Turn]:
    hashes = [row["answer_hash"] for row in rows if row["answer_hash"] is not None]
    answers = dict(zip(hashes, blobs.get_messages(connection, hashes), strict=True)) if hashes else {}
    return [
        Turn(
            id=row["id"],
            conversation_id=row["conversation_id"],
            index=row["index"],
            state=row["state"],
            created_at=row["created_at"],
            answer=answers.get(row["answer_hash"]),
        )
        for row in rows
    ]


def read_steps(connection: Connection, rows: Sequence[StoredRow]) -> list[Step]:
    """The steps with their packed parts, in two statements however many there are."""
    columns = ("input_messages", "prompt_token_ids", "token_ids", "logprobs")
    packed = blobs.get_blobs(connection, {row[c] for row in rows for c in columns if row[c] is not None})
    return [_read_step(row, packed) for row in rows]


def _read_step(row: StoredRow, packed: dict[str, bytes]) -> Step:
    inputs = json.loads(row["inputs"])
    if row["input_messages"] is not None:
        inputs["messages"] = blobs.unpack_hashes(packed[row["input_messages"]])
    return Step(
        id=row["id"],
        turn_id=row["turn_id"],
        index=row["index"],
        kind=row["kind"],
        state=row["state"],
        idempotency_key=row["idempotency_key"],
        position=row["position"],
        inputs=inputs,
        output=json.loads(row["output"]) if row["output"] is not None else None,
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        prompt_token_ids=blobs.unpack_ints(packed.get(row["prompt_token_ids"], b"")),
        token_ids=blobs.unpack_ints(packed.get(row["token_ids"], b"")),
        logprobs=blobs.unpack_floats(packed.get(row["logprobs"], b"")),
    )


def read_transcript(connection: Connection, conversation_id: str) -> list[Entry]:
    """All messages of a conversation in order, in one statement."""
    entries, stored = tables.conversation_messages.c, tables.messages.c
    query = (
        select(entries.position, entries.turn_id, entries.step_id, stored.body)
        .join(tables.messages, stored.hash == entries.message_hash)
        .where(entries.conversation_id == conversation_id)
        .order_by(entries.position)
    )
    return [
        Entry(position=row.position, turn_id=row.turn_id, step_id=row.step_id, message=Message.model_validate_json(row.body))
        for row in connection.execute(query)
    ]
