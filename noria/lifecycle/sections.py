"""The sections a `noria.toml` may have, by name; the classes stand beside their owners."""

import importlib
import importlib.util

from noria.config import Project, Section

SECTIONS = {
    "model": "noria.model:ModelConfig",
    "engine": "noria.engine:EngineConfig",
    "agent": "noria.agent:AgentConfig",
    "feedback": "noria.feedback:FeedbackConfig",
    "train": "noria.train:TuneConfig",
    "improve": "noria.lifecycle.config:ImproveConfig",
    "gate": "noria.evaluate.gate:GateConfig",
    "serve": "noria.serve:ServeConfig",
}
"""Where each section's class stands; named, not imported, since every command looks at the names and few at the values."""


TRAINING = ("torch", "transformers", "peft")
"""What `[train]` cannot be read without."""


def check_sections(project: Project) -> None:
    """Refuse a section nobody owns, and a `[project]` that is wrong. Raises ConfigError."""
    project.check_sections(SECTIONS)
    _ = project.about


def check_values(project: Project, training: bool = True) -> None:
    """Refuse a section with a field or value that is wrong. Raises ConfigError.

    Args:
        training: look at `[train]` too, where training is installed; that loads torch.
    """
    check_sections(project)
    for section, place in SECTIONS.items():
        if section == "train" and not (training and all(map(importlib.util.find_spec, TRAINING))):
            continue
        module, _, name = place.partition(":")
        config: type[Section] = getattr(importlib.import_module(module), name)
        _ = project.section(section, config)
