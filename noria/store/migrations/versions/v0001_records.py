"""The first tables: conversations with their turns and steps, messages and blobs, feedback, releases and gate reports."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_traces()
    _create_feedback_and_releases()


def _create_traces() -> None:
    op.create_table("messages", sa.Column("hash", sa.String(64), primary_key=True), sa.Column("body", sa.Text, nullable=False))
    op.create_table(
        "blobs",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("chunked", sa.Boolean, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "conversations",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("release_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("today", sa.Date, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("num_messages", sa.Integer, nullable=False),
        sa.Column("num_turns", sa.Integer, nullable=False),
    )
    op.create_index("conversations_user_id", "conversations", ["user_id"])
    op.create_table(
        "turns",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("conversation_id", sa.String(64), sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("answer_hash", sa.String(64), sa.ForeignKey("messages.hash")),
        sa.UniqueConstraint("conversation_id", "index", name="turns_conversation_index"),
    )
    is_open = sa.text("state = 'open'")
    op.create_index("turns_open", "turns", ["seq"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_table(
        "steps",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("turn_id", sa.String(64), sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("input_messages", sa.String(64)),
        sa.Column("output", sa.Text),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("prompt_token_ids", sa.String(64)),
        sa.Column("token_ids", sa.String(64)),
        sa.Column("logprobs", sa.String(64)),
        sa.UniqueConstraint("turn_id", "index", name="steps_turn_index"),
        sa.UniqueConstraint("turn_id", "idempotency_key", name="steps_turn_key"),
    )
    op.create_table(
        "conversation_messages",
        sa.Column("conversation_id", sa.String(64), sa.ForeignKey("conversations.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("turn_id", sa.String(64), sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("step_id", sa.String(64), sa.ForeignKey("steps.id")),
        sa.Column("message_hash", sa.String(64), sa.ForeignKey("messages.hash"), nullable=False),
    )
    op.create_index("conversation_messages_turn_id", "conversation_messages", ["turn_id"])


def _create_feedback_and_releases() -> None:
    op.create_table(
        "feedback",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("receipt", sa.String(64), sa.ForeignKey("turns.id"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("step", sa.Integer),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_index("feedback_receipt", "feedback", ["receipt"])
    op.create_index("feedback_created_at", "feedback", ["created_at"])
    op.create_table(
        "releases",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        sa.Column("parent_id", sa.String(64), sa.ForeignKey("releases.id")),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("artifacts", sa.Text, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    is_live = sa.text("state = 'live'")
    op.create_index("releases_one_live", "releases", ["state"], unique=True, sqlite_where=is_live, postgresql_where=is_live)
    op.create_table(
        "release_moves",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("release_id", sa.String(64), sa.ForeignKey("releases.id"), nullable=False),
        sa.Column("from_state", sa.String(16), nullable=False),
        sa.Column("to_state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "gate_reports",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("candidate_id", sa.String(64), sa.ForeignKey("releases.id"), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("alpha_spent", sa.Float, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_index("gate_reports_candidate_id", "gate_reports", ["candidate_id"])
