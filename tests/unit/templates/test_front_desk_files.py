from pathlib import Path
from typing import Any

import pytest

from noria.agent import AgentConfig, Toolbox
from noria.agent.setup import SEARCH
from noria.config import Project
from noria.evaluate.suites import load_suite
from noria.knowledge import KnowledgeBase
from noria.model import ModelConfig, resolve

SUITES = ("safety", "smalltalk", "knowledge")


def test_the_project_file_is_valid(project: Path) -> None:
    from noria.engine import EngineConfig
    from noria.evaluate.gate import GateConfig
    from noria.lifecycle.sections import check_sections
    from noria.serve import ServeConfig

    opened = Project.load(project)
    assert opened.about.name == "desk"
    assert resolve(opened.section("model", ModelConfig).base, project).path.is_file()
    for name, config in (("agent", AgentConfig), ("engine", EngineConfig), ("gate", GateConfig), ("serve", ServeConfig)):
        opened.section(name, config)
    check_sections(opened)
    assert set(opened.section("gate", GateConfig).margins) < set(SUITES)


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_has_thirty_items_that_can_be_passed(project: Path, toolbox: Toolbox, name: str) -> None:
    suite = load_suite(project / "evals" / f"{name}.jsonl")
    assert len(suite.items) >= 30
    for item in suite.items:
        assert not any(message.hints for message in item.messages)
        for call in item.expect.get("tool_calls", ()):
            if call["name"] == SEARCH.name:
                assert set(call["arguments"]) == {"query"}
            else:
                toolbox.check(call["name"], call["arguments"])


def test_three_suites_and_no_more(project: Path) -> None:
    assert sorted(path.stem for path in (project / "evals").glob("*.jsonl")) == sorted(SUITES)


@pytest.mark.parametrize("name", SUITES)
def test_no_guest_says_a_sentence_of_a_suite(project: Path, environment: Any, name: str) -> None:
    heard = {
        text.casefold()
        for split in ("train", "evaluation")
        for goal in environment.goals(split, 1500, seed=21)
        for beat in goal.spec["beats"]
        for text in (beat["text"], *beat.get("answers", {}).values())
    }
    asked = [item.messages[-1].content.casefold() for item in load_suite(project / "evals" / f"{name}.jsonl").items]
    assert not heard & set(asked)
    assert len(set(asked)) == len(asked)


def test_knowledge_pages_come_in_pairs(project: Path) -> None:
    folders = (project / "knowledge" / "en", project / "knowledge" / "zh")
    english, chinese = ({path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")} for folder in folders)
    assert len(english) == 15
    assert set(english) == set(chinese)
    for name, text in english.items():
        assert 80 <= len(text.split()) <= 200, name
        assert 80 <= sum("\u4e00" <= c <= "\u9fff" for c in chinese[name]) <= 200, name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_answers_stand_in_the_page_that_is_found(project: Path, environment: Any, knowledge: KnowledgeBase, language: str) -> None:
    limit = Project.load(project).section("agent", AgentConfig).max_passage_characters
    texts = environment.modules["speech"].phrasings(language)
    for topic, about in texts["topics"].items():
        found = " ".join(knowledge.search(about["query"], 1)[0].text.split())[:limit]
        for expected in about["expect"]:
            assert expected in found, (topic, found)
            assert expected in about["answer"]
        assert texts["question"]["train"][topic]
        assert texts["question"]["evaluation"][topic]


@pytest.mark.parametrize("name", SUITES)
def test_no_sentence_of_a_suite_is_nearly_one_that_is_learnt(project: Path, environment: Any, name: str) -> None:
    """A suite that repeats what guests of the training say would examine memory."""
    heard = {
        frozenset(text.casefold().split())
        for goal in environment.goals("train", 1500, seed=21)
        for beat in goal.spec["beats"]
        for text in (beat["text"], *beat.get("answers", {}).values())
    }
    for item in load_suite(project / "evals" / f"{name}.jsonl").items:
        asked = frozenset(item.messages[-1].content.casefold().split())
        assert max(len(asked & said) / len(asked | said) for said in heard) < 0.75, item.messages[-1].content
