"""Generation behind the `Generator` protocol: OpenVINO GenAI, transformers, or a remote OpenAI-compatible server.

Importing this package imports none of the engines' libraries.
"""

from noria.engine.config import EngineConfig, EngineKind
from noria.engine.openvino import OpenVINOGenerator

__all__ = ["EngineConfig", "EngineKind", "OpenVINOGenerator"]
