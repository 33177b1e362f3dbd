"""Generation behind the `Generator` protocol: OpenVINO GenAI, transformers, or a remote OpenAI-compatible server.

Importing this package imports none of the engines' libraries. It does see to it that OpenVINO, which tells its maker over the network of every
import and conversion unless a file in the home folder forbids it, finds its package for that missing, and so tells nobody; a program that
imports OpenVINO before Noria has to see to that itself.
"""

import sys
from typing import Any, cast

from noria.engine.config import EngineConfig, EngineKind
from noria.engine.opening import open_generator, readable_base
from noria.engine.openvino import OpenVINOGenerator
from noria.engine.remote import RemoteGenerator
from noria.engine.transformers import TransformersGenerator

cast(dict[str, Any], sys.modules).setdefault("openvino_telemetry", None)  # what is None here cannot be imported

__all__ = ["EngineConfig", "EngineKind", "OpenVINOGenerator", "RemoteGenerator", "TransformersGenerator", "open_generator", "readable_base"]
