"""The SQL tables of a project, as they are after the newest migration.

`noria/store/migrations` makes and changes them; a test compares the two. Identifiers are texts made by `new_id`; `seq` is the order of arrival.
Values that are JSON are canonical JSON texts, times are UTC.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in, the same moment in UTC out, also on SQLite, which keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

messages = Table(
    "messages",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)
"""Each distinct message once, by its content address."""

blobs = Table(
    "blobs",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("chunked", Boolean, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
"""Bytes by their SHA-256. A long one is cut into chunks that are blobs of their own; `data` then lists their hashes."""

conversations = Table(
    "conversations",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("release_id", String(64), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("today", Date, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("num_messages", Integer, nullable=False),
    Column("num_turns", Integer, nullable=False),
    Column("history_hash", String(64), nullable=False, server_default=""),
    Column("visible_hash", String(64), nullable=False, server_default=""),
    Index("conversations_history_hash", "history_hash"),
    Index("conversations_visible_hash", "visible_hash"),
    Index("conversations_user_id", "user_id"),
)
"""`history_hash` chains the hashes of all messages, `visible_hash` of what a client saw of finished turns."""

turns = Table(
    "turns",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("conversation_id", String(64), ForeignKey("conversations.id"), nullable=False),
    Column("index", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("answer_hash", String(64), ForeignKey("messages.hash")),
    Column("visible_hash", String(64), nullable=False, server_default=""),
    UniqueConstraint("conversation_id", "index", name="turns_conversation_index"),
    Index("turns_open", "seq", sqlite_where=text("state = 'open'"), postgresql_where=text("state = 'open'")),
)
"""`visible_hash` is the conversation's, continued by what came in with this turn."""

steps = Table(
    "steps",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("turn_id", String(64), ForeignKey("turns.id"), nullable=False),
    Column("index", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("idempotency_key", String(128), nullable=False),
    Column("position", Integer, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("input_messages", String(64)),
    Column("output", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("prompt_token_ids", String(64)),
    Column("token_ids", String(64)),
    Column("logprobs", String(64)),
    UniqueConstraint("turn_id", "index", name="steps_turn_index"),
    UniqueConstraint("turn_id", "idempotency_key", name="steps_turn_key"),
)
"""`input_messages`, `prompt_token_ids`, `token_ids` (int32) and `logprobs` (float32) name blobs; `position` counts the messages before the step."""

conversation_messages = Table(
    "conversation_messages",
    metadata,
    Column("conversation_id", String(64), ForeignKey("conversations.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("turn_id", String(64), ForeignKey("turns.id"), nullable=False),
    Column("step_id", String(64), ForeignKey("steps.id")),
    Column("message_hash", String(64), ForeignKey("messages.hash"), nullable=False),
    Index("conversation_messages_turn_id", "turn_id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("receipt", String(64), ForeignKey("turns.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("value", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("step", Integer),
    Column("created_at", UtcDateTime, nullable=False),
    Index("feedback_receipt", "receipt"),
    Index("feedback_created_at", "created_at"),
)

releases = Table(
    "releases",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("id", String(64), nullable=False, unique=True),
    Column("parent_id", String(64), ForeignKey("releases.id")),
    Column("state", String(16), nullable=False),
    Column("artifacts", Text, nullable=False),
    Column("notes", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("releases_one_live", "state", unique=True, sqlite_where=text("state = 'live'"), postgresql_where=text("state = 'live'")),
)

release_moves = Table(
    "release_moves",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("release_id", String(64), ForeignKey("releases.id"), nullable=False),
    Column("from_state", String(16), nullable=False),
    Column("to_state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

gate_reports = Table(
    "gate_reports",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("candidate_id", String(64), ForeignKey("releases.id"), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("alpha_spent", Float, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("gate_reports_candidate_id", "candidate_id"),
)
