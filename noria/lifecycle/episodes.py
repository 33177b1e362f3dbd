"""Episodes: guests of an environment talk to a release, many at once, each in a world of its own.

In: goals, and a `Channel` to whatever answers (an agent in this process, or a server over HTTP). Out: an `EpisodeResult` a goal: the transcript,
the receipts, what the world says at the end, and how many decisions were the expert's. `record_feedback` binds outcome, thumbs and an expert's
corrections to the receipts. Which release is asked, and what the results mean, is decided elsewhere.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Protocol

from noria.errors import AgentError, ContextOverflowError
from noria.evaluate.suites import ItemResult
from noria.schema import Environment, Episode, Goal, Message, Outcome

CONCURRENCY = 12
MAX_TURNS = 20
"""A guest who still has something to say after this many answers has not been served."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came of one message of a guest: every message after it (tool calls, results, the answer), and its receipt.

    `decisions` numbers, for each message, the model's decision it is (as feedback's `step` does); None for what was no decision of the model.
    """

    receipt: str
    messages: tuple[Message, ...]
    decisions: tuple[int | None, ...]
    num_tokens: int = 0
    seconds: float = 0.0


class Channel(Protocol):
    """A way to talk to a release. Used from many threads, each with conversations of its own."""

    def begin(self, episode: Episode) -> Any:
        """Start a conversation in the episode's world; what comes back names it."""
        ...

    def say(self, conversation: Any, text: str) -> Reply:
        """Send one message. Raises AgentError or ModelError if no answer comes."""
        ...


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """One episode to its end."""

    goal: Goal
    user_id: str
    outcome: Outcome
    transcript: tuple[Message, ...]
    replies: tuple[Reply, ...]
    decisions: tuple["Decision", ...]
    seconds: float = 0.0

    def item(self) -> ItemResult:
        """The result as an item of a suite: 1 if the guest was served."""
        calls = [d for d in self.decisions if d.expected.tool_calls]
        counts = {"calls": float(len(calls)), "exact": float(sum(d.exact for d in calls)), "named": float(sum(d.named for d in calls))}
        return ItemResult(
            id=self.goal.id,
            value=float(self.outcome.success),
            metrics={"success": float(self.outcome.success), **counts},
            answer={"reason": self.outcome.reason, "num_turns": len(self.replies)},
            seconds=sum(r.seconds for r in self.replies),
            num_tokens=sum(r.num_tokens for r in self.replies),
        )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One decision of the agent beside the expert's at the same point."""

    receipt: str
    step: int
    taken: Message
    expected: Message

    @property
    def named(self) -> bool:
        return [c.name for c in self.taken.tool_calls] == [c.name for c in self.expected.tool_calls]

    @property
    def exact(self) -> bool:
        """The same calls with the same arguments; of two replies without a call the wording does not matter."""
        return _calls(self.taken) == _calls(self.expected)


@dataclass
class _Talk:
    """An episode that is going on."""

    transcript: list[Message] = field(default_factory=list[Message])
    replies: list[Reply] = field(default_factory=list[Reply])
    decisions: list[Decision] = field(default_factory=list[Decision])


def run_episodes(
    environment: Environment,
    goals: Sequence[Goal],
    channel: Channel,
    *,
    concurrency: int = CONCURRENCY,
    on_result: Callable[[EpisodeResult], None] | None = None,
) -> list[EpisodeResult]:
    """Run one episode a goal; results in the order of the goals. `on_result` is called in this thread as each ends."""
    results: dict[str, EpisodeResult] = {}
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        futures = [pool.submit(run_episode, environment, goal, channel) for goal in goals]
        try:
            for future in as_completed(futures):
                result = future.result()
                results[result.goal.id] = result
                if on_result:
                    on_result(result)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[goal.id] for goal in goals]


def run_episode(environment: Environment, goal: Goal, channel: Channel) -> EpisodeResult:
    """One guest from the first word to the last. A turn the agent cannot finish ends the episode without success."""
    started = time.monotonic()
    episode = environment.start(goal)
    talk = _Talk()
    try:
        problem = _talk(episode, channel, talk)
        outcome = Outcome(success=False, reason=problem) if problem else episode.outcome()
    finally:
        episode.close()
    return EpisodeResult(
        goal=goal,
        user_id=episode.user_id,
        outcome=outcome,
        transcript=tuple(talk.transcript),
        replies=tuple(talk.replies),
        decisions=tuple(talk.decisions),
        seconds=time.monotonic() - started,
    )


def _talk(episode: Episode, channel: Channel, talk: _Talk) -> str | None:
    """Let the guest talk until it leaves; the reason if it could not go on."""
    conversation = channel.begin(episode)
    for _ in range(MAX_TURNS):
        text = episode.guest_says(talk.transcript)
        if text is None:
            return None
        talk.transcript.append(Message(role="user", content=text))
        try:
            reply = channel.say(conversation, text)
        except (AgentError, ContextOverflowError) as error:
            return f"The agent gave up: {error}"
        _compare(episode, talk, reply)
        talk.replies.append(reply)
    return None


def _compare(episode: Episode, talk: _Talk, reply: Reply) -> None:
    """Put the expert's decision beside each of the model's, as long as those were right: what follows a wrong one is another story."""
    right = True
    for message, step in zip(reply.messages, reply.decisions, strict=True):
        if right and step is not None:
            expected = episode.demonstrate(talk.transcript)
            decision = Decision(receipt=reply.receipt, step=step, taken=message, expected=expected)
            talk.decisions.append(decision)
            right = decision.exact
        talk.transcript.append(message)


def _calls(message: Message) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in message.tool_calls]


class FeedbackSink(Protocol):
    """Where feedback goes: the project's log, or a server."""

    def add(self, receipt: str, kind: str, value: Any, source: str, role: str, step: int | None = None) -> object: ...


def record_feedback(sink: FeedbackSink, environment: Environment, result: EpisodeResult, *, corrections: bool, judged: bool = True) -> int:
    """Give feedback on an episode and return how many pieces.

    Args:
        corrections: An expert's decision beside each of the model's.
        judged: The world's outcome and the guest's thumb, on the last answer.
    """
    if not result.replies:
        return 0
    last, given = result.replies[-1].receipt, 0
    if judged:
        sink.add(last, "outcome", {"success": result.outcome.success, "reason": result.outcome.reason}, environment.name, "environment")
        sink.add(last, "thumb", result.outcome.success, result.user_id, "user")
        given = 2
    for decision in result.decisions if corrections else ():
        sink.add(decision.receipt, "demonstration", decision.expected.to_openai(), "colleague", "operator", decision.step)
        given += 1
    return given
