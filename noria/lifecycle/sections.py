"""The sections a `noria.toml` may have, by name; the classes stand beside their owners."""

from noria.config import Project

SECTIONS = ("model", "engine", "agent", "feedback", "train", "improve", "gate", "serve")


def check_sections(project: Project) -> None:
    """Refuse a section nobody owns, and a `[project]` that is wrong. Raises ConfigError."""
    project.check_sections(SECTIONS)
    _ = project.about
