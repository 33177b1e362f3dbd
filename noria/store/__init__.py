"""Where everything rests: the SQL database (traces, feedback, releases) and the artifact folders.

In come records of `noria.schema`, out come the same records. `Database.open(url)` first, then `Traces`, `FeedbackLog` and `Releases` on it;
`ArtifactStore(root)` stands alone. Nothing here knows what a record means to training or serving.
"""

from noria.store.artifacts import Artifact, ArtifactStore
from noria.store.claim import (
    check_claim,
    claim,
    claimed,
    content_mark,
    finished,
    is_as_it_was,
    other_version,
    read_told,
    refuse_other,
    sizes,
)
from noria.store.database import Database
from noria.store.feedback_log import FeedbackLog
from noria.store.files import file_hash, write_file
from noria.store.machine import hardware, versions
from noria.store.releases import LedgerRow, Move, Releases
from noria.store.rows import Entry
from noria.store.traces import Traces

__all__ = [
    "Artifact",
    "ArtifactStore",
    "Database",
    "Entry",
    "FeedbackLog",
    "LedgerRow",
    "Move",
    "Releases",
    "Traces",
    "check_claim",
    "claim",
    "claimed",
    "content_mark",
    "file_hash",
    "finished",
    "hardware",
    "is_as_it_was",
    "other_version",
    "read_told",
    "refuse_other",
    "sizes",
    "versions",
    "write_file",
]
