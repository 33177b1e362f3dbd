"""What happened, on disk: conversations, turns and steps, appended and never changed but for their end.

Every method is one transaction. A conversation of a thousand turns costs no more to continue than one of two: messages are stored once by
content address, a turn or a step adds rows and reads none of the earlier ones (`history` and `transcript` alone read them all).
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, get_args

from sqlalchemy import Connection, RowMapping, func, insert, or_, select, update

from noria.errors import DataError, StoreError
from noria.schema import Clock, Conversation, Generation, Message, Step, StepKind, StepState, SystemClock, ToolSpec, Turn, TurnState, new_id
from noria.store import blobs, tables
from noria.store.database import Database
from noria.store.rows import Entry, dump_json, read_conversation, read_steps, read_transcript, read_turns

_HASH = re.compile(r"[0-9a-f]{64}")


class Traces:
    """The record of all conversations of a project."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    def start_conversation(self, release_id: str, user_id: str, today: date, metadata: Mapping[str, str] | None = None) -> Conversation:
        """Open a conversation of `user_id` with a release; an empty `user_id` means that nobody knows who it is."""
        conversation = Conversation(
            id=new_id("conv"), release_id=release_id, user_id=user_id, today=today, created_at=self._clock.now(), metadata=dict(metadata or {})
        )
        values = {**conversation.model_dump(), "metadata": dump_json(conversation.metadata, "`metadata`"), "num_messages": 0, "num_turns": 0}
        with self._database.write() as connection:
            connection.execute(insert(tables.conversations).values(values))
        return conversation

    def conversation(self, conversation_id: str) -> Conversation | None:
        with self._database.read() as connection:
            row = connection.execute(select(tables.conversations).where(tables.conversations.c.id == conversation_id)).mappings().first()
        return read_conversation(row) if row is not None else None

    def conversations(self, limit: int = 50, before: str | None = None) -> list[Conversation]:
        """The newest conversations first; `before` is the id of the last one already seen."""
        table = tables.conversations
        query = select(table).order_by(table.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(table.c.seq < select(table.c.seq).where(table.c.id == before).scalar_subquery())
        with self._database.read() as connection:
            return [read_conversation(row) for row in connection.execute(query).mappings()]

    def conversations_of(self, receipts: Sequence[str]) -> dict[str, Conversation]:
        """Receipt to the conversation it belongs to; receipts that nobody gave out are left out."""
        wanted, found = sorted(set(receipts)), {}
        with self._database.read() as connection:
            for start in range(0, len(wanted), 500):
                query = select(tables.conversations, tables.turns.c.id.label("receipt"))
                query = query.join(tables.turns, tables.turns.c.conversation_id == tables.conversations.c.id)
                query = query.where(tables.turns.c.id.in_(wanted[start : start + 500]))
                found.update((row["receipt"], read_conversation(row)) for row in connection.execute(query).mappings())
        return found

    def find_by_history(self, messages: Sequence[Message]) -> Conversation | None:
        """The newest conversation that holds exactly these messages: either all it has, or what its client has seen of it.

        What a client sees is what came in with each finished turn and the turn's answer; hints and ids of calls do not count.
        """
        if not messages:
            return None
        table = tables.conversations
        with self._database.read() as connection:
            history = blobs.chain("", (m.hash for m in messages))
            visible = blobs.chain("", (blobs.visible_hash(m) for m in messages))
            query = select(table).where(or_(table.c.history_hash == history, table.c.visible_hash == visible)).order_by(table.c.seq.desc()).limit(1)
            row = connection.execute(query).mappings().first()
        return read_conversation(row) if row is not None else None

    def holds(self, conversation_id: str, messages: Sequence[Message]) -> bool:
        """Whether these messages are all a conversation has, or what its client has seen of it (as `find_by_history`)."""
        table = tables.conversations
        with self._database.read() as connection:
            row = connection.execute(select(table.c.history_hash, table.c.visible_hash).where(table.c.id == conversation_id)).first()
        if row is None:
            return False
        return row.history_hash == blobs.chain("", (m.hash for m in messages)) or row.visible_hash == blobs.chain(
            "", (blobs.visible_hash(m) for m in messages)
        )

    def start_turn(self, conversation_id: str, messages: Sequence[Message]) -> Turn:
        """Begin a turn with the messages that came in. Raises DataError for an unknown conversation or no message."""
        if not messages:
            raise DataError("A turn begins with at least one message; none was given.")
        table, now = tables.conversations, self._clock.now()
        with self._database.write() as connection:
            query = update(table).where(table.c.id == conversation_id).values(num_turns=table.c.num_turns + 1)
            row = connection.execute(query.returning(table.c.num_turns, table.c.visible_hash)).first()
            if row is None:
                raise DataError(f"No conversation has the id {conversation_id!r}.")
            turn = Turn(id=new_id("turn"), conversation_id=conversation_id, index=row.num_turns - 1, state="open", created_at=now)
            visible = blobs.chain(row.visible_hash, (blobs.visible_hash(m) for m in messages))
            connection.execute(insert(tables.turns).values(**turn.model_dump(exclude={"answer"}), visible_hash=visible))
            _append(connection, conversation_id, turn.id, None, messages)
        return turn

    def history(self, conversation_id: str) -> list[Message]:
        """All messages so far, tool calls and results included, in order."""
        return [entry.message for entry in self.transcript(conversation_id)]

    def transcript(self, conversation_id: str) -> list[Entry]:
        """As `history`, each message with its position, turn and step."""
        with self._database.read() as connection:
            return read_transcript(connection, conversation_id)

    def append(self, turn_id: str, message: Message) -> None:
        """Add a message to the conversation of an open turn."""
        with self._database.write() as connection:
            turn = _open_turn(connection, turn_id)
            _append(connection, turn["conversation_id"], turn_id, None, [message])

    def finish_turn(self, turn_id: str, state: TurnState, answer: Message | None = None) -> Turn:
        """End a turn. The answer becomes the last message of the conversation, if its step has not appended it already.

        Ending it again in the same way changes nothing; in another way raises StoreError.
        """
        if state not in get_args(TurnState) or state == "open":
            raise DataError(f"A turn ends as 'done', 'failed' or 'cancelled', not {state!r}.")
        with self._database.write() as connection:
            row = _turn_row(connection, turn_id)
            answer_hash = answer.hash if answer is not None else None
            if row["state"] != "open":
                if (row["state"], row["answer_hash"]) != (state, answer_hash):
                    raise StoreError(f"Turn `{turn_id}` has already ended as {row['state']!r}. Begin a new turn.")
                return read_turns(connection, [row])[0]
            if answer is not None and _last_message(connection, row["conversation_id"], turn_id) != answer_hash:
                _append(connection, row["conversation_id"], turn_id, None, [answer])
            if answer is not None and state == "done":
                visible = blobs.chain(row["visible_hash"], [blobs.visible_hash(answer)])
                table = tables.conversations
                connection.execute(update(table).where(table.c.id == row["conversation_id"]).values(visible_hash=visible))
            ended = {"state": state, "answer_hash": answer_hash, "ended_at": self._clock.now()}
            connection.execute(update(tables.turns).where(tables.turns.c.id == turn_id).values(ended))
            return read_turns(connection, [{**row, **ended}])[0]

    def turn(self, receipt: str) -> Turn | None:
        with self._database.read() as connection:
            rows = connection.execute(select(tables.turns).where(tables.turns.c.id == receipt)).mappings().all()
            return next(iter(read_turns(connection, rows)), None)

    def turns(self, conversation_id: str) -> list[Turn]:
        with self._database.read() as connection:
            query = select(tables.turns).where(tables.turns.c.conversation_id == conversation_id).order_by(tables.turns.c.index)
            return read_turns(connection, connection.execute(query).mappings().all())

    def open_turns(self) -> list[Turn]:
        """Turns that were begun and not ended, oldest first: after a kill, what is to be resumed."""
        with self._database.read() as connection:
            query = select(tables.turns).where(tables.turns.c.state == "open").order_by(tables.turns.c.seq)
            return read_turns(connection, connection.execute(query).mappings().all())

    def start_step(self, turn_id: str, kind: StepKind, inputs: Mapping[str, Any], idempotency_key: str | None = None) -> Step:
        """Record a step before its effect. A key that the turn knows already returns that step as it stands, started or ended."""
        if kind not in get_args(StepKind):
            raise DataError(f"Step `kind` is {kind!r}; allowed: {', '.join(get_args(StepKind))}.")
        table = tables.steps
        with self._database.write() as connection:
            turn = _open_turn(connection, turn_id)
            if idempotency_key is not None:
                query = select(table).where(table.c.turn_id == turn_id, table.c.idempotency_key == idempotency_key)
                known = read_steps(connection, connection.execute(query).mappings().all())
                if known:
                    return known[0]
            last = connection.execute(select(func.max(table.c.index)).where(table.c.turn_id == turn_id)).scalar()
            num_messages = select(tables.conversations.c.num_messages).where(tables.conversations.c.id == turn["conversation_id"])
            step_id = new_id("step")
            step = Step(
                id=step_id,
                turn_id=turn_id,
                index=0 if last is None else last + 1,
                kind=kind,
                state="started",
                idempotency_key=idempotency_key or step_id,
                position=connection.execute(num_messages).scalar_one(),
                inputs=dict(inputs),
                started_at=self._clock.now(),
            )
            values = step.model_dump(exclude={"output", "ended_at", "prompt_token_ids", "token_ids", "logprobs"})
            connection.execute(insert(table).values(values | _packed_inputs(connection, step.inputs)))
        return step

    def finish_step(
        self,
        step_id: str,
        state: StepState,
        output: Mapping[str, Any] | None,
        messages: Sequence[Message] = (),
        generation: Generation | None = None,
    ) -> Step:
        """End a step, append its messages and keep its token ids and log-probabilities: all of it, or nothing."""
        if state not in ("done", "failed"):
            raise DataError(f"A step ends as 'done' or 'failed', not {state!r}.")
        table = tables.steps
        with self._database.write() as connection:
            row = connection.execute(select(table).where(table.c.id == step_id)).mappings().first()
            if row is None:
                raise DataError(f"No step has the id {step_id!r}.")
            if row["state"] != "started":
                raise StoreError(f"Step `{step_id}` has already ended as {row['state']!r}. Begin a new step.")
            turn = _open_turn(connection, row["turn_id"])
            if messages:
                _append(connection, turn["conversation_id"], row["turn_id"], step_id, messages)
            ended: dict[str, Any] = {"state": state, "ended_at": self._clock.now()}
            ended["output"] = dump_json(dict(output), "`output`") if output is not None else None
            if generation is not None:
                ended |= _packed_tokens(connection, generation)
            connection.execute(update(table).where(table.c.id == step_id).values(ended))
            return read_steps(connection, [{**row, **ended}])[0]

    def steps(self, turn_id: str) -> list[Step]:
        with self._database.read() as connection:
            query = select(tables.steps).where(tables.steps.c.turn_id == turn_id).order_by(tables.steps.c.index)
            return read_steps(connection, connection.execute(query).mappings().all())

    def conversation_steps(self, conversation_id: str, kind: StepKind) -> list[Step]:
        """The steps of one kind in all turns, in order, without their token ids and log-probabilities."""
        table = tables.steps
        query = select(table).join(tables.turns, tables.turns.c.id == table.c.turn_id)
        query = query.where(tables.turns.c.conversation_id == conversation_id, table.c.kind == kind).order_by(table.c.seq)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
            bare: dict[str, Any] = {"prompt_token_ids": None, "token_ids": None, "logprobs": None}
            return read_steps(connection, [{**row, **bare} for row in rows])

    def put_message(self, message: Message) -> str:
        """Store a message on its own (a system prompt, say) and return its address."""
        with self._database.write() as connection:
            return blobs.put_messages(connection, [message])[0]

    def put_messages(self, messages: Sequence[Message]) -> list[str]:
        """As `put_message`, for many in one transaction."""
        with self._database.write() as connection:
            return blobs.put_messages(connection, messages)

    def message(self, address: str) -> Message:
        return self.messages([address])[0]

    def messages(self, addresses: Sequence[str]) -> list[Message]:
        with self._database.read() as connection:
            return blobs.get_messages(connection, addresses)

    def put_blob(self, data: bytes) -> str:
        with self._database.write() as connection:
            return blobs.put_blobs(connection, [data])[0]

    def blob(self, address: str) -> bytes:
        with self._database.read() as connection:
            return blobs.get_blobs(connection, [address])[address]

    def put_tools(self, tools: Sequence[ToolSpec]) -> str:
        """Store the tools of a model call as one blob; its address goes into the step's `inputs` as `tools`."""
        return self.put_blob(dump_json([tool.model_dump() for tool in tools], "`tools`").encode())

    def tools(self, address: str) -> list[ToolSpec]:
        """The tools at this address, stored by `put_tools` or as a JSON list of OpenAI's function schemas."""
        stored = json.loads(self.blob(address))
        return [ToolSpec.from_openai(tool) if "function" in tool else ToolSpec.model_validate(tool) for tool in stored]


def _turn_row(connection: Connection, turn_id: str) -> RowMapping:
    row = connection.execute(select(tables.turns).where(tables.turns.c.id == turn_id)).mappings().first()
    if row is None:
        raise DataError(f"No turn has the id {turn_id!r}.")
    return row


def _open_turn(connection: Connection, turn_id: str) -> RowMapping:
    row = _turn_row(connection, turn_id)
    if row["state"] != "open":
        raise StoreError(f"Turn `{turn_id}` has already ended as {row['state']!r}. Begin a new turn.")
    return row


def _append(connection: Connection, conversation_id: str, turn_id: str, step_id: str | None, messages: Sequence[Message]) -> None:
    """Add messages at the end: five statements, whatever the length of the conversation."""
    table = tables.conversations
    counted = update(table).where(table.c.id == conversation_id).values(num_messages=table.c.num_messages + len(messages))
    row = connection.execute(counted.returning(table.c.num_messages, table.c.history_hash)).one()
    hashes = blobs.put_messages(connection, messages)
    first = row.num_messages - len(messages)
    entry = {"conversation_id": conversation_id, "turn_id": turn_id, "step_id": step_id}
    connection.execute(
        insert(tables.conversation_messages), [{**entry, "position": first + i, "message_hash": address} for i, address in enumerate(hashes)]
    )
    connection.execute(update(table).where(table.c.id == conversation_id).values(history_hash=blobs.chain(row.history_hash, hashes)))


def _last_message(connection: Connection, conversation_id: str, turn_id: str) -> str | None:
    """Address of the conversation's last message, if it belongs to this turn and came from inside it."""
    entries, table = tables.conversation_messages.c, tables.conversations
    last = select(table.c.num_messages - 1).where(table.c.id == conversation_id).scalar_subquery()
    query = select(entries.message_hash).where(entries.conversation_id == conversation_id, entries.position == last, entries.turn_id == turn_id)
    return connection.execute(query).scalar()


def _packed_inputs(connection: Connection, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """`inputs` as it is stored: the addresses of the prompt's messages go into a blob whose chunks the steps of a conversation share."""
    addresses = inputs.get("messages")
    if not isinstance(addresses, list | tuple) or not all(isinstance(a, str) and _HASH.fullmatch(a) for a in addresses):
        return {"inputs": dump_json(dict(inputs), "`inputs`"), "input_messages": None}
    rest = {key: value for key, value in inputs.items() if key != "messages"}
    return {"inputs": dump_json(rest, "`inputs`"), "input_messages": blobs.put_blobs(connection, [blobs.pack_hashes(addresses)])[0]}


def _packed_tokens(connection: Connection, generation: Generation) -> dict[str, str]:
    """Blob addresses of the token ids and log-probabilities; nothing for an engine that tells none."""
    packed = {
        "prompt_token_ids": blobs.pack_ints(generation.prompt_token_ids),
        "token_ids": blobs.pack_ints(generation.token_ids),
        "logprobs": blobs.pack_floats(generation.logprobs),
    }
    packed = {name: data for name, data in packed.items() if data}
    return dict(zip(packed, blobs.put_blobs(connection, list(packed.values())), strict=True))
