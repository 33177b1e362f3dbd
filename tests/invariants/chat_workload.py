"""The chat that tests/invariants/test_kill.py kills: four turns with tools on a real store, going on where the last life ended."""

import hashlib
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

from noria.agent import Agent, Toolbox, ToolContext, tool
from noria.schema import GenerationRequest, Message, Turn, canonical_json
from noria.store import Database, Traces
from noria.testing import ScriptedGenerator
from noria.testing.killing import FaultPoints, serve

ORDERS = ["tea and cake tomorrow at 3 pm", "soup", "tea and soup", "cake on 8 March"]
RINGS = ["ring", "ring and tea", "ring"]
"""With the tool that takes no idempotency key."""


class FaultyTraces(Traces):
    """The store with a fault point before and after every commit of the agent."""

    points = FaultPoints()

    def start_turn(self, *args: Any) -> Any:
        return self._around(super().start_turn, args)

    def finish_turn(self, *args: Any) -> Any:
        return self._around(super().finish_turn, args)

    def start_step(self, *args: Any) -> Any:
        return self._around(super().start_step, args)

    def finish_step(self, *args: Any) -> Any:
        return self._around(super().finish_step, args)

    def _around(self, method: Any, args: tuple[Any, ...]) -> Any:
        self.points.passed()
        result = method(*args)
        self.points.passed()
        return result


def world(folder: Path) -> sqlite3.Connection:
    """The tools' own database: what was truly done."""
    db = sqlite3.connect(folder / "world.db", isolation_level=None, timeout=20)
    db.execute("CREATE TABLE IF NOT EXISTS orders (key TEXT UNIQUE, item TEXT NOT NULL)")
    return db


def toolbox(points: FaultPoints) -> Toolbox:
    @tool(effect="writes")
    def order(item: str, ctx: ToolContext) -> dict[str, str]:
        """Order something"""
        db = world(ctx.state_dir)
        points.passed()
        db.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", (ctx.idempotency_key, item))
        points.passed()
        db.close()
        return {"ordered": item}

    @tool
    def price(item: str) -> int:
        """Price of something"""
        points.passed()
        return len(item)

    @tool(effect="writes")
    def ring() -> str:
        """Ring the bell"""
        db = world(Path(STATE["folder"]))
        points.passed()
        db.execute("INSERT INTO orders VALUES (NULL, 'ring')")
        points.passed()
        db.close()
        return "rung"

    return Toolbox([order, price, ring])


STATE: dict[str, str] = {}


def decide(request: GenerationRequest) -> str | dict[str, Any]:
    """The model: for each thing in the user's message its price, then its order; then a reply. A pure function of the prompt."""
    last_user = max(i for i, m in enumerate(request.messages) if m.role == "user")
    said = request.messages[last_user].content
    items = [item for item in ("tea", "cake", "soup") if item in said]
    wanted: list[dict[str, Any]] = [{name: {"item": item}} for item in items for name in ("price", "order")]
    if "ring" in said:
        wanted.insert(0, {"ring": {}})
    num_done = sum(bool(m.tool_calls) for m in request.messages[last_user:])
    return wanted[num_done] if num_done < len(wanted) else f"Here you are: {said}."


def main(folder: str, script: str, fatal: int = 0, delay: float = 0.0) -> None:
    """One life: finish what is open, then say what was not said yet."""
    STATE["folder"] = folder
    points = FaultPoints(fatal, delay)
    FaultyTraces.points = points
    traces = FaultyTraces(Database.open(f"sqlite:///{folder}/noria.db"))
    agent = Agent(ScriptedGenerator(decide), toolbox(points), traces, state_dir=Path(folder), system_prompt="You are a cafe.")
    for turn in traces.open_turns():
        list(agent.resume(turn))
    conversation = (traces.conversations() or [traces.start_conversation("r1", "ann", date(2026, 3, 3))])[0]
    sentences = {"orders": ORDERS, "rings": RINGS}[script]
    for sentence in sentences[len(traces.turns(conversation.id)) :]:
        list(agent.respond(conversation.id, [Message(role="user", content=sentence)]))


def end_state(folder: Path) -> dict[str, Any]:
    """All that must be the same however often the chat was killed: messages, turns, steps and the world, without random ids."""
    with Database.open(f"sqlite:///{folder}/noria.db") as database:
        traces = Traces(database)
        conversations = traces.conversations()
        assert len(conversations) == 1
        turns = traces.turns(conversations[0].id)
        history = traces.history(conversations[0].id)
        calls = {call.id: f"call {i}" for i, call in enumerate(call for m in history for call in m.tool_calls)}
        db = world(folder)
        orders = [item for (item,) in db.execute("SELECT item FROM orders ORDER BY rowid")]
        db.close()
        return {
            "messages": [_without_ids(m, calls) for m in history],
            "turns": [(turn.state, turn.answer.content if turn.answer else None, _steps(traces, turn)) for turn in turns],
            "orders": orders,
        }


def end_hash(folder: Path) -> str:
    return hashlib.sha256(canonical_json(end_state(folder)).encode()).hexdigest()


def _steps(traces: Traces, turn: Turn) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(step.kind, step.state, step.token_ids) for step in traces.steps(turn.id)]


def _without_ids(message: Message, calls: dict[str, str]) -> dict[str, Any]:
    data = message.model_dump()
    data["tool_calls"] = [{**call, "id": calls[call["id"]]} for call in data["tool_calls"]]
    data["tool_call_id"] = calls[message.tool_call_id] if message.tool_call_id else None
    return data


if __name__ == "__main__":
    serve(main)
