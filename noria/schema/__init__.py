"""What flows through Noria: records (frozen pydantic models) and the seams (Protocols) to everything outside.

Nothing here reads a file, opens a connection or imports a model library.
"""

from noria.schema.artifact import ArtifactKind, Manifest
from noria.schema.environment import Environment, Episode, Goal, Outcome
from noria.schema.feedback import Feedback, FeedbackKind
from noria.schema.generation import Delta, Generation, GenerationRequest, Generator
from noria.schema.messages import Message, Record, Role, ToolCall, ToolSpec, canonical_json
from noria.schema.release import GateReport, Release, ReleaseState, SuiteResult
from noria.schema.seams import Clock, Embedder, Passage, Retriever, SystemClock, new_id
from noria.schema.trace import Conversation, Step, StepKind, StepState, Turn, TurnState

__all__ = [
    "ArtifactKind",
    "Clock",
    "Conversation",
    "Delta",
    "Embedder",
    "Environment",
    "Episode",
    "Feedback",
    "FeedbackKind",
    "GateReport",
    "Generation",
    "GenerationRequest",
    "Generator",
    "Goal",
    "Manifest",
    "Message",
    "Outcome",
    "Passage",
    "Record",
    "Release",
    "ReleaseState",
    "Retriever",
    "Role",
    "Step",
    "StepKind",
    "StepState",
    "SuiteResult",
    "SystemClock",
    "ToolCall",
    "ToolSpec",
    "Turn",
    "TurnState",
    "canonical_json",
    "new_id",
]
