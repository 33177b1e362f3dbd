"""A conversation with a release in the terminal.

`/up` and `/down` judge the last answer, `/quit` (or the end of the input) leaves. Conversations are kept like all others.
"""

import sys
from collections.abc import Callable
from datetime import datetime

from noria.agent.events import StepEvent
from noria.config import Project
from noria.lifecycle.releases import Records
from noria.schema import Conversation, Delta, Message, Release, Step
from noria.serve import Serving, first_release

USER = "terminal"


def chat_in_terminal(project: Project, release_name: str | None = None, loader: Callable[[Release], Serving] | None = None) -> None:
    """Read messages from standard input and print the answers as they come. Raises DataError for an unknown release."""
    with Records.open(project, loader) as records:
        live = first_release(project, records.releases, records.artifacts)
        release = records.releases.get(release_name) if release_name else live
        serving = records.load(release)
        try:
            today = datetime.now().astimezone().date()
            conversation = serving.traces.start_conversation(release.id, USER, today, {"mode": "agent"})
            _print(f"{project.about.name} r{release.number}. Judge an answer with /up or /down; leave with /quit.\n")
            _talk(records, serving, conversation)
        finally:
            serving.close()


def _talk(records: Records, serving: Serving, conversation: Conversation) -> None:
    receipt: str | None = None
    while True:
        _print("> ")
        line = sys.stdin.readline()
        text = line.strip()
        if not line or text == "/quit":
            return
        if text in ("/up", "/down"):
            if receipt is None:
                _print("There is no answer to judge yet.\n")
            else:
                records.feedback.add(receipt, "thumb", text == "/up", USER, "user")
                _print("Kept.\n")
        elif text:
            receipt = _answer(serving, conversation, text)


def _answer(serving: Serving, conversation: Conversation, text: str) -> str | None:
    receipt: str | None = None
    for event in serving.agent().respond(conversation.id, [Message(role="user", content=text)]):
        if isinstance(event, Delta):
            _print(event.text)
        elif isinstance(event, StepEvent):
            _print(_step_line(event.step))
        else:
            receipt = event.turn.id
    _print("\n")
    return receipt


def _step_line(step: Step) -> str:
    if step.kind not in ("tool", "retrieval"):
        return ""
    call = step.inputs.get("call", {})
    arguments = ", ".join(f"{name}={value}" for name, value in call.get("arguments", {}).items())
    return f"[{call.get('name')}({arguments})]\n"


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
