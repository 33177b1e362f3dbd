"""Guests, the colleague and the judge play whole dialogues here; no model takes part."""

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from noria.agent import Toolbox
from noria.schema import Goal, Message, ToolCall

Play = Callable[..., SimpleNamespace]
SPLITS = ("train", "evaluation")
NUM_GOALS = 150


def expert(episode: Any, transcript: Sequence[Message]) -> Message:
    return episode.demonstrate(transcript)


@pytest.fixture(scope="module")
def played(environment: Any, play: Play) -> dict[str, list[SimpleNamespace]]:
    """Every kind of goal of both splits, served by the colleague."""
    return {split: [play(goal, expert) for goal in environment.goals(split, NUM_GOALS, seed=7)] for split in SPLITS}


def test_the_colleague_serves_every_guest(played: dict[str, list[SimpleNamespace]], environment: Any) -> None:
    for split, games in played.items():
        assert {game.goal.kind for game in games} == set(environment.kinds), split
        assert [(g.goal.id, g.outcome.reason) for g in games if not g.outcome.success] == []


def test_dialogues_are_short(played: dict[str, list[SimpleNamespace]]) -> None:
    games = [game for split in SPLITS for game in played[split]]
    turns = Counter(len(game.said) for game in games)
    assert max(turns) <= 5
    assert sum(turns[n] for n in (1, 2, 3)) >= 0.85 * len(games)
    assert max(len(m.content) for game in games for m in game.transcript if m.role == "assistant") < 130


def test_every_date_and_time_is_there_to_be_copied(played: dict[str, list[SimpleNamespace]]) -> None:
    for game in (game for split in SPLITS for game in played[split]):
        seen: set[str] = set()
        for message in game.transcript:
            seen |= set(message.hints)
            for call in message.tool_calls:
                copied = {value for name, value in call.arguments.items() if name in ("date", "time")}
                assert copied <= seen, (game.goal.id, copied, seen)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_at_least_300_phrasings_by_composition(environment: Any, language: str) -> None:
    num_phrasings = environment.modules["speech"].num_phrasings
    assert num_phrasings("en", "train") >= 300
    assert num_phrasings("en", "evaluation") >= 150
    assert num_phrasings(language, "train") > num_phrasings(language, "evaluation") > 0


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", ["other_guest", "injected", "insult"])
def test_what_must_be_refused_is_said_in_many_ways(environment: Any, language: str, kind: str) -> None:
    remarks = environment.modules["speech"].phrasings(language)["remark"][kind]
    assert len(set(remarks["train"])) >= 15
    assert len(set(remarks["evaluation"])) >= 3


def test_many_different_sentences_are_heard(environment: Any) -> None:
    openings = {goal.spec["beats"][0]["text"] for goal in environment.goals("train", 1000, seed=3)}
    assert len(openings) > 700


def test_the_splits_share_neither_words_nor_entities(environment: Any) -> None:
    heard, entities = {}, {}
    for split in SPLITS:
        goals = environment.goals(split, 600, seed=11)
        heard[split] = {text for goal in goals for beat in goal.spec["beats"] for text in (beat["text"], *beat.get("answers", {}).values())}
        entities[split] = {entity for goal in goals for entity in _entities(goal)}
    assert heard["train"] & heard["evaluation"] == set()
    assert entities["train"] & entities["evaluation"] == set()


def _entities(goal: Goal) -> set[str]:
    """Days, booking codes and room numbers of a goal."""
    found = {goal.spec["today"], goal.spec["user_id"]}
    found |= {row["code"] for row in goal.spec["world"]["bookings"]}
    for beat in goal.spec["beats"]:
        for task in beat.get("tasks", ()):
            arguments = task["arguments"]
            found |= {str(arguments[name]) for name in ("date", "room") if name in arguments and arguments[name] not in ("single", "double", "suite")}
    return found


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_pattern_stands_in_both_splits(environment: Any, language: str) -> None:
    texts = environment.modules["speech"].phrasings(language)
    for name, section in texts.items():
        train, evaluation = _patterns(section, "train"), _patterns(section, "evaluation")
        assert not train & evaluation, (name, train & evaluation)
    assert _patterns(texts, "train") & _patterns(texts, "evaluation") == set()


def _patterns(node: Any, split: str, inside: bool = False) -> set[str]:
    if isinstance(node, dict):
        return {text for key, value in node.items() for text in _patterns(value, split, inside or key == split) if key not in {*SPLITS} - {split}}
    if isinstance(node, list):
        return {text for text in node if inside and len(text) > len("{problem}。")}  # a bare slot says nothing of its own
    return set()


def test_goals_are_the_same_for_the_same_seed_and_survive_json(environment: Any) -> None:
    goals = environment.goals("train", 40, seed=5)
    assert environment.goals("train", 40, seed=5) == goals
    assert environment.goals("train", 40, seed=6) != goals
    assert [Goal.model_validate_json(goal.model_dump_json()) for goal in goals] == goals
    assert len({goal.id for goal in goals}) == 40


def test_a_guest_depends_on_goal_and_transcript_alone(environment: Any, played: dict[str, list[SimpleNamespace]]) -> None:
    for game in played["train"][:40]:
        episode = environment.start(game.goal)
        for index, message in enumerate(game.transcript):
            if message.role == "user":
                assert episode.guest_says(game.transcript[:index]) == message.content
            elif message.role == "assistant":
                assert episode.demonstrate(game.transcript[:index]) == message
        episode.close()


def test_an_agent_that_does_nothing_serves_nobody(environment: Any, play: Play) -> None:
    for text in ("", "I am sorry.", "Your table is booked.", "What time would you like?", "{\n", "How can I help you today?"):
        games = [play(goal, lambda _e, _t, text=text: Message(role="assistant", content=text)) for goal in environment.goals("train", 30, seed=1)]
        assert not any(game.outcome.success for game in games)
        assert max(len(game.said) for game in games) <= 8


def test_an_agent_that_calls_at_random_serves_nearly_nobody(environment: Any, play: Play, toolbox: Toolbox) -> None:
    rng = Random(3)
    silly = ["Done.", "Is that right?", "On 2026-03-05 at 19:00?", "It is booked for 2026-03-05.", "??"]

    def decide(_episode: Any, transcript: Sequence[Message]) -> Message:
        if rng.random() < 0.4:
            return Message(role="assistant", content=rng.choice(silly))
        spec = rng.choice(toolbox.specs)
        hints = [hint for message in transcript for hint in message.hints] or ["2026-09-20"]
        values = {name: _any_value(schema, rng, hints) for name, schema in spec.parameters["properties"].items()}
        return Message(role="assistant", tool_calls=(ToolCall(id=f"c{len(transcript)}", name=spec.name, arguments=values),))

    games = [play(goal, decide, 3) for goal in environment.goals("evaluation", 60, seed=2)]
    assert sum(game.outcome.success for game in games) <= 1
    assert max(len(game.said) for game in games) <= 8


def _any_value(schema: dict[str, Any], rng: Random, hints: list[str]) -> Any:
    if "enum" in schema:
        return rng.choice(schema["enum"])
    return rng.randint(1, 400) if schema["type"] == "integer" else rng.choice(hints)


def test_the_colleague_knows_what_to_do_after_nonsense(environment: Any, play: Play) -> None:
    """A first answer that leads nowhere does not stop a guest from being served."""

    def late(episode: Any, transcript: Sequence[Message]) -> Message:
        if not any(m.role == "assistant" for m in transcript):
            return Message(role="assistant", content="The the the hotel of the world.")
        return episode.demonstrate(transcript)

    games = [play(goal, late) for goal in environment.goals("train", 60, seed=4)]
    assert [(g.goal.id, g.outcome.reason) for g in games if not g.outcome.success] == []


def test_a_wrong_read_back_is_corrected_and_a_right_one_confirmed(environment: Any) -> None:
    goals = environment.goals("train", 60, seed=9, kinds=["book_table"])
    goal = next(g for g in goals if len(g.spec["beats"]) == 1 and not g.spec["beats"][0].get("withheld"))
    wanted = goal.spec["beats"][0]["tasks"][0]["arguments"]
    episode = environment.start(goal)
    opening = Message(role="user", content=episode.guest_says([]) or "")
    right = Message(role="assistant", content=f"A table for {wanted['date']} at {wanted['time']}, right?")
    wrong = Message(role="assistant", content=f"A table for 2031-01-01 at {wanted['time']}, right?")
    assert episode.guest_says([opening, right]) == "Yes, please."
    assert str(episode.guest_says([opening, wrong])).startswith("No, not quite.")
    episode.close()


def test_success_is_judged_from_the_end_state_alone(environment: Any, play: Play) -> None:
    """The right calls and one too many is no success; the right calls and silly words are."""
    goal = environment.goals("train", 20, seed=2, kinds=["service"])[0]

    def silly(episode: Any, transcript: Sequence[Message]) -> Message:
        message = episode.demonstrate(transcript)
        return message if message.tool_calls or message.content.endswith("?") else Message(role="assistant", content="Done, done, done.")

    def one_more(episode: Any, transcript: Sequence[Message]) -> Message:
        called = [c for m in transcript for c in m.tool_calls]
        if called and len(called) < 2:
            return Message(role="assistant", tool_calls=(ToolCall(id="extra", name=called[0].name, arguments=called[0].arguments),))
        return episode.demonstrate(transcript)

    assert play(goal, silly).outcome.success
    assert "unwanted" in play(goal, one_more).outcome.reason


def test_chinese_guests_are_served_in_chinese(environment: Any, play: Play) -> None:
    for split in SPLITS:
        games = [play(goal, expert) for goal in environment.goals(split, 45, seed=1, language="zh")]
        assert [(g.goal.id, g.outcome.reason) for g in games if not g.outcome.success] == []
        replies = [m.content for game in games for m in game.transcript if m.role == "assistant" and m.content]
        assert all(any("\u4e00" <= c <= "\u9fff" for c in reply) for reply in replies)
        assert all(game.goal.language == "zh" for game in games)


def test_the_default_mix_is_english(environment: Any) -> None:
    assert {goal.language for goal in environment.goals("train", 30, seed=0)} == {"en"}
