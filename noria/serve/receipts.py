"""What an answer came from, as clients see it: the steps of a turn, its sources, its messages and its token counts.

In: stored turns and steps. Out: JSON objects for the `noria` field of streamed chunks, for `/v1/receipts/{id}` and `/v1/conversations/{id}`.
"""

from collections.abc import Sequence
from typing import Any

from noria.errors import ServeError
from noria.schema import Conversation, Feedback, Release, Step, Turn
from noria.serve.format import Usage
from noria.serve.runtime import Runtime


class StepView:
    """Shows the steps of one turn in their order, each with the number of the model's decision it belongs to, counted from 0.

    A correction of a step (feedback of kind demonstration) names that number as `step`.
    """

    def __init__(self) -> None:
        self._decision = -1

    def of(self, step: Step) -> dict[str, Any]:
        """One finished step."""
        output = step.output or {}
        seen: dict[str, Any] = {"index": step.index, "kind": step.kind, "state": step.state}
        if step.kind == "model":
            self._decision += 1
            seen |= {key: output[key] for key in ("finish_reason", "num_prompt_tokens", "num_completion_tokens", "seconds") if key in output}
            if output.get("decision") == "retry":
                seen["retried"] = True
        elif step.kind == "retrieval":
            seen |= {"query": _call(step).get("arguments", {}).get("query", step.inputs.get("query")), "sources": output.get("passages", [])}
        else:
            seen |= _call(step)
            result = output.get("content", output.get("reason"))
            seen |= {key: value for key, value in (("result", result), ("verdict", output.get("decision"))) if value is not None}
        return seen | {"decision": max(self._decision, 0)}


def receipt_body(runtime: Runtime, receipt: str, operator: bool) -> dict[str, Any]:
    """Everything the answer `receipt` came from, with the feedback that the asker may see. Raises ServeError (404)."""
    turn = runtime.traces.turn(receipt)
    conversation = runtime.traces.conversation(turn.conversation_id) if turn is not None else None
    if turn is None or conversation is None:
        raise ServeError(f"There is no answer with the receipt {receipt!r:.80}.", 404, "receipt_not_found")
    steps = runtime.traces.steps(turn.id)
    body = _turn_body(runtime, turn, steps)
    feedback = [f.model_dump(mode="json") for f in runtime.feedback.list(receipt=turn.id) if _may_see(f, conversation, operator)]
    prompt = _prompt_of(runtime, steps)
    return {
        "object": "noria.receipt",
        **body,
        "conversation": conversation.model_dump(mode="json"),
        "release": release_name(runtime.releases.get(conversation.release_id)),
        "prompt": prompt,
        "sources": [source for step in body["steps"] for source in step.get("sources", [])],
        "usage": usage_of(steps).to_openai(),
        "feedback": feedback,
    }


def conversation_body(runtime: Runtime, conversation_id: str, operator: bool) -> dict[str, Any]:
    """A conversation with its turns and the feedback that the asker may see, as the page shows it again after a reload. Raises ServeError (404)."""
    conversation = runtime.traces.conversation(conversation_id)
    if conversation is None:
        raise ServeError(f"There is no conversation {conversation_id!r:.80}.", 404, "conversation_not_found")
    turns = runtime.traces.turns(conversation.id)
    return {
        "object": "noria.conversation",
        **conversation.model_dump(mode="json"),
        "release": release_name(runtime.releases.get(conversation.release_id)),
        "turns": _turn_bodies(runtime, conversation, turns, operator),
    }


def release_name(release: Release) -> dict[str, Any]:
    return {"id": release.id, "number": release.number, "name": f"r{release.number}", "state": release.state}


def _may_see(piece: Feedback, conversation: Conversation, operator: bool) -> bool:
    """Operators see all feedback, who else knows the id of an answer or a conversation what its own user said.

    Keys are not of one person each, and a `source` is what a client says it is: the user of the conversation, whom these answers name anyway, is
    the only one that the asker can be taken for.
    """
    return operator or (piece.role == "user" and piece.source == conversation.user_id)


def _turn_bodies(runtime: Runtime, conversation: Conversation, turns: list[Turn], operator: bool) -> list[dict[str, Any]]:
    incoming: dict[str, list[dict[str, Any]]] = {}
    for entry in runtime.traces.transcript(conversation.id):
        if entry.step_id is None and entry.message.role != "assistant":
            incoming.setdefault(entry.turn_id, []).append(entry.message.to_openai())
    said: dict[str, list[dict[str, Any]]] = {}
    for piece in runtime.feedback.list(conversation_id=conversation.id):
        if _may_see(piece, conversation, operator):
            said.setdefault(piece.receipt, []).append(piece.model_dump(mode="json"))
    bodies: list[dict[str, Any]] = []
    for turn in turns:
        view = StepView()
        steps = [view.of(step) for step in runtime.traces.steps(turn.id)]
        answer = turn.answer.to_openai() if turn.answer is not None else None
        told = {"messages": incoming.get(turn.id, []), "steps": steps, "answer": answer, "feedback": said.get(turn.id, [])}
        bodies.append({"receipt": turn.id, "state": turn.state, **told})
    return bodies


def _turn_body(runtime: Runtime, turn: Turn, steps: list[Step]) -> dict[str, Any]:
    view = StepView()
    entries = [entry for entry in runtime.traces.transcript(turn.conversation_id) if entry.turn_id == turn.id]
    return {
        "receipt": turn.id,
        "state": turn.state,
        "created_at": turn.created_at.isoformat(),
        "messages": [entry.message.to_openai() for entry in entries],
        "answer": turn.answer.to_openai() if turn.answer is not None else None,
        "steps": [view.of(step) for step in steps],
    }


def _prompt_of(runtime: Runtime, steps: list[Step]) -> list[dict[str, Any]]:
    """The messages of the last prompt the model read for this answer."""
    for step in reversed(steps):
        addresses = step.inputs.get("messages")
        if step.kind == "model" and addresses:
            return [message.to_openai() for message in runtime.traces.messages(list(addresses))]
    return []


def usage_of(steps: Sequence[Step]) -> Usage:
    """Tokens of the model steps of a turn: as the engine counted them, else by the token ids kept."""
    total = Usage()
    for step in steps:
        if step.kind == "model":
            output = step.output or {}
            prompt, completion = output.get("num_prompt_tokens", len(step.prompt_token_ids)), output.get("num_completion_tokens", len(step.token_ids))
            total += Usage(prompt_tokens=prompt, completion_tokens=completion)
    return total


def _call(step: Step) -> dict[str, Any]:
    """Name and arguments of the call a step is about."""
    call = step.inputs.get("call") or step.inputs.get("confirmed") or {}
    return {"name": call.get("name"), "arguments": call.get("arguments", {})} if call else {}
