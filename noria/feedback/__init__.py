"""Feedback in, training data out: import it in bulk, select what may be trusted, redact it, split it, write task files.

Comes in: the traces and the feedback log of a database; goes out: `train/` and `evaluation/` task files with a report.
Run `noria feedback export DIR`. Feedback itself is stored by `noria.store.FeedbackLog`; comments are kept, but this export does not use them.
"""

from noria.data.personal import Entity, PersonalData, Span
from noria.feedback.bulk import import_file, stats
from noria.feedback.config import FeedbackConfig
from noria.feedback.decisions import Decision, Dialogue
from noria.feedback.export import ExportReport, export, export_artifact, read_report, task_path
from noria.feedback.redact import Redaction, Redactor

__all__ = [
    "Decision",
    "Dialogue",
    "Entity",
    "ExportReport",
    "FeedbackConfig",
    "PersonalData",
    "Redaction",
    "Redactor",
    "Span",
    "export",
    "export_artifact",
    "import_file",
    "read_report",
    "stats",
    "task_path",
]
