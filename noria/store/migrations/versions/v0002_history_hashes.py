"""Find a conversation by its messages: a chained hash of all messages, and one of what its client saw."""

from collections import defaultdict

import sqlalchemy as sa
from alembic import op

from noria.schema import Message
from noria.store.blobs import chain, visible_hash

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for table, names in (("conversations", ("history_hash", "visible_hash")), ("turns", ("visible_hash",))):
        for name in names:
            op.add_column(table, sa.Column(name, sa.String(64), nullable=False, server_default=""))
    _fill(op.get_bind())
    op.create_index("conversations_history_hash", "conversations", ["history_hash"])
    op.create_index("conversations_visible_hash", "conversations", ["visible_hash"])


def _fill(connection: sa.Connection) -> None:
    for (conversation_id,) in connection.execute(sa.text("SELECT id FROM conversations ORDER BY seq")).all():
        _fill_conversation(connection, conversation_id)


def _fill_conversation(connection: sa.Connection, conversation_id: str) -> None:
    rows = connection.execute(
        sa.text(
            "SELECT c.turn_id, c.step_id, m.hash, m.body FROM conversation_messages c JOIN messages m ON m.hash = c.message_hash "
            "WHERE c.conversation_id = :id ORDER BY c.position"
        ),
        {"id": conversation_id},
    ).all()
    incoming: dict[str, list[Message]] = defaultdict(list)
    for turn_id, step_id, _, body in rows:
        message = Message.model_validate_json(body)
        if step_id is None and message.role != "assistant":
            incoming[turn_id].append(message)
    visible = ""
    turns = connection.execute(
        sa.text(
            "SELECT t.id, t.state, m.body FROM turns t LEFT JOIN messages m ON m.hash = t.answer_hash WHERE t.conversation_id = :id ORDER BY t.seq"
        ),
        {"id": conversation_id},
    ).all()
    for turn_id, state, body in turns:
        after = chain(visible, (visible_hash(m) for m in incoming[turn_id]))
        connection.execute(sa.text("UPDATE turns SET visible_hash = :hash WHERE id = :id"), {"hash": after, "id": turn_id})
        if state == "done" and body is not None:
            visible = chain(after, [visible_hash(Message.model_validate_json(body))])
    connection.execute(
        sa.text("UPDATE conversations SET history_hash = :history, visible_hash = :visible WHERE id = :id"),
        {"history": chain("", (row.hash for row in rows)), "visible": visible, "id": conversation_id},
    )
