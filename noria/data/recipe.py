"""The recipe of a corpus: three stages of datatrove steps, which any of datatrove's executors runs.

    from datatrove.executor import SlurmPipelineExecutor
    recipe = begin(BuildConfig(), [Path("/data/wiki")], Path("/data/corpus"))
    executors(recipe, partial(SlurmPipelineExecutor, time="10:00:00", partition="cpu"))[-1].run()
    finish(recipe)   # when the jobs are done

`begin` and `finish` are those of `noria.data.build`. Cleaning has a task for every few files, finding duplicates one, writing as many as cleaning.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters import FTFYFormatter

from noria.data.build_config import BuildConfig, Rule
from noria.data.contents import StepName
from noria.data.english_words import EnglishWords
from noria.data.final_steps import FindDuplicates, WriteCorpus
from noria.data.quality import CharacterRepetition, ChineseQuality, InLanguage
from noria.data.steps import Decontaminate, Identify, Keep, ReadFiles, Redact
from noria.data.tally import DroppedWriter, Progress, Tally

BYTES_PER_TASK = 32_000_000
ENGLISH, CHINESE = ("en",), ("zh",)
WORDS: Any = EnglishWords()
"""datatrove's filters take a tokenizer in the place of a language."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Steps that run one after another on each document, in as many tasks as are wanted; a stage waits for the one before."""

    name: str
    steps: list[PipelineStep]
    num_tasks: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a corpus is made from, and how."""

    config: BuildConfig
    files: tuple[Path, ...]
    passed_over: dict[str, int]
    against: tuple[Path, ...]
    out: Path
    scratch: Path
    """Folder of what is needed on the way."""

    @property
    def kept_dir(self) -> Path:
        return self.scratch / "kept"

    @property
    def num_tasks(self) -> int:
        """Tasks of cleaning: as asked, else by the bytes there are, but one file is never cut."""
        num_bytes = sum(path.stat().st_size for path in self.files)
        return min(len(self.files), self.config.tasks or math.ceil(max(num_bytes, 1) / BYTES_PER_TASK))

    def log_dir(self, stage: str) -> Path:
        """Where datatrove notes which tasks of a stage are done."""
        return self.scratch / "logs" / stage

    def progress_dir(self, stage: str) -> Path:
        return self.scratch / "progress" / stage

    def stages(self) -> tuple[Stage, ...]:
        """The whole recipe, in order."""
        num_tasks, duplicates = self.num_tasks, self.scratch / "duplicates.npz"
        find = FindDuplicates(self.kept_dir, num_tasks, self.config.similarity, duplicates, Progress(self.progress_dir("duplicates")))
        write = WriteCorpus(self.config, self.kept_dir, num_tasks, duplicates, self.out, Progress(self.progress_dir("writing")))
        return (
            Stage(name="cleaning", steps=self._cleaning(), num_tasks=num_tasks),
            Stage(name="duplicates", steps=[find], num_tasks=1),
            Stage(name="writing", steps=[write], num_tasks=num_tasks),
        )

    def _cleaning(self) -> list[PipelineStep]:
        config, tally, dropped_dir = self.config, Tally(), self.out / "dropped"

        def dropped(step: StepName) -> DroppedWriter:
            return DroppedWriter(dropped_dir, step, tally)

        steps: list[PipelineStep] = [ReadFiles(self.files, dropped("read"), dropped_dir, tally, Progress(self.progress_dir("cleaning")))]
        if config.repair_encoding:
            steps.append(FTFYFormatter())
        steps.append(Identify(config.languages, config.language_confidence, dropped("language")))
        for rule, make in _RULES.items():
            steps += make(config, dropped) if rule in config.rules else []
        if self.against:
            steps.append(Decontaminate(self.against, dropped("contamination")))
        if config.redact:
            steps.append(Redact(config.redact, config.phone_regions, tally))
        return [*steps, Keep(self.kept_dir, config.similarity is not None, tally)]


def executors(recipe: Recipe, make: Callable[..., Any]) -> list[Any]:
    """An executor for each stage, each waiting for the one before: run the last.

    Args:
        make: makes one from `pipeline`, `tasks`, `logging_dir` and `depends`; a datatrove executor with its own settings filled in.
    """
    made: list[Any] = []
    for stage in recipe.stages():
        log_dir = str(recipe.log_dir(stage.name).absolute())
        made.append(make(pipeline=stage.steps, tasks=stage.num_tasks, logging_dir=log_dir, depends=made[-1] if made else None))
    return made


Dropping = Callable[[StepName], DroppedWriter]


def _english(rule: BaseFilter, step: StepName, dropped: Dropping) -> list[PipelineStep]:
    return [InLanguage(rule, ENGLISH, dropped(step))]


def _repetition(_: BuildConfig, dropped: Dropping) -> list[PipelineStep]:
    words = InLanguage(GopherRepetitionFilter(language=WORDS), ENGLISH, dropped("repetition"))
    return [words, InLanguage(CharacterRepetition(), ENGLISH, dropped("character_repetition"), others=True)]


def _gopher(config: BuildConfig, dropped: Dropping) -> list[PipelineStep]:
    # No upper limit: a manual of a team's own may be long, what is too long on the web is most often a list.
    return _english(GopherQualityFilter(min_doc_words=config.min_words, max_doc_words=None, language=WORDS), "gopher", dropped)


def _c4(config: BuildConfig, dropped: Dropping) -> list[PipelineStep]:
    # As in FineWeb: without the rule that takes out every line that ends without a full stop, headings among them.
    return _english(C4QualityFilter(filter_no_terminal_punct=False, min_num_sentences=config.min_sentences, language=WORDS), "c4", dropped)


def _fineweb(_: BuildConfig, dropped: Dropping) -> list[PipelineStep]:
    return _english(FineWebQualityFilter(language=WORDS), "fineweb", dropped)


def _chinese(config: BuildConfig, dropped: Dropping) -> list[PipelineStep]:
    rule = ChineseQuality(min_ideographs=config.min_words, min_sentences=math.ceil(config.min_sentences / 2))
    return [InLanguage(rule, CHINESE, dropped("chinese"))]


_RULES: dict[Rule, Callable[[BuildConfig, Dropping], list[PipelineStep]]] = {
    "repetition": _repetition,
    "gopher": _gopher,
    "c4": _c4,
    "fineweb": _fineweb,
    "chinese": _chinese,
}
