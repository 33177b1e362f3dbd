"""The agent: a conversation goes in, an answer comes out, and every step between is stored before it acts.

    agent = Agent(generator, Toolbox.load(root / "tools.py"), Traces(database), system_prompt=prompt, state_dir=root / ".noria" / "state")
    for event in agent.respond(conversation.id, [Message(role="user", content="A table for two tomorrow at 7 pm")]):
        ...

Not covered here: HTTP (noria.serve), which release a conversation belongs to, two turns of one conversation at the same time.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from noria.agent.config import AgentConfig
from noria.agent.events import Event
from noria.agent.hints import hints
from noria.agent.phrases import Language
from noria.agent.policy import ConfirmingPolicy, Policy
from noria.agent.setup import Setup
from noria.agent.tools import Toolbox
from noria.agent.turn import TurnRun
from noria.errors import AgentError, DataError
from noria.schema import Conversation, Generator, Message, Retriever, Turn
from noria.store import Traces


class Agent:
    """Answers messages with the help of a model, tools and knowledge. Cheap to make; threads may share it."""

    def __init__(
        self,
        generator: Generator,
        toolbox: Toolbox,
        traces: Traces,
        *,
        state_dir: Path,
        retriever: Retriever | None = None,
        config: AgentConfig | None = None,
        system_prompt: str = "",
        language: Language = "en",
        policy: Policy | None = None,
    ) -> None:
        """
        Args:
            generator: the model.
            toolbox: the project's tools.
            traces: where conversations are stored.
            state_dir: the folder tools keep their world in.
            retriever: the project's knowledge; with it the model has the tool `search_knowledge`.
            config: budgets and sampling.
            system_prompt: template of the system prompt (`render_prompt`).
            language: of fixed replies where the user's language cannot be told.
            policy: which calls may go through; by default tools with `confirm=True` wait for the user's yes.
        """
        self._setup = Setup(
            generator=generator,
            toolbox=toolbox,
            traces=traces,
            state_dir=state_dir,
            retriever=retriever,
            config=config or AgentConfig(),
            system_prompt=system_prompt,
            language=language,
            policy=policy or ConfirmingPolicy(),
        )

    def respond(self, conversation_id: str, messages: Sequence[Message]) -> Iterator[Event]:
        """Store the new messages (the last one the user's), work on them, and yield what happens; `TurnEvent` is last.

        Closing the iterator cancels the turn.

        Raises:
            DataError: an unknown conversation, or messages that do not end with the user's.
            ModelError: the model failed or the turn does not fit its context; the turn ends as failed.
        """
        conversation = self._conversation(conversation_id)
        if not messages or messages[-1].role != "user":
            raise DataError("The last message of a turn must be of role `user`; add one.")
        seen = [self._with_hints(message, conversation) for message in messages]
        turn = self._setup.traces.start_turn(conversation_id, seen)
        yield from TurnRun(self._setup, conversation, turn).events()

    def resume(self, turn: Turn) -> Iterator[Event]:
        """Go on with a turn that a kill left open (`Traces.open_turns`), where it was; no side effect happens twice. Raises AgentError."""
        if turn.state != "open":
            raise AgentError(f"Turn `{turn.id}` has ended as {turn.state!r}; only open turns can be resumed.")
        yield from TurnRun(self._setup, self._conversation(turn.conversation_id), turn).events()

    def _conversation(self, conversation_id: str) -> Conversation:
        conversation = self._setup.traces.conversation(conversation_id)
        if conversation is None:
            raise DataError(f"No conversation has the id {conversation_id!r}.")
        return conversation

    def _with_hints(self, message: Message, conversation: Conversation) -> Message:
        if message.role != "user" or message.hints or not self._setup.config.hints:
            return message
        return message.model_copy(update={"hints": hints(message.content, conversation.today)})
