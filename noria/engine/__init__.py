"""Generation behind the `Generator` protocol: OpenVINO GenAI, transformers, or a remote OpenAI-compatible server.

Importing this package imports none of the engines' libraries.
"""

from noria.engine.config import EngineConfig, EngineKind
from noria.engine.opening import open_generator
from noria.engine.openvino import OpenVINOGenerator
from noria.engine.remote import RemoteGenerator
from noria.engine.transformers import TransformersGenerator

__all__ = ["EngineConfig", "EngineKind", "OpenVINOGenerator", "RemoteGenerator", "TransformersGenerator", "open_generator"]
