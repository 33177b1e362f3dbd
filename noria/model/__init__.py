"""Model files: the base-model registry, tokenizers, rendering of messages, checkpoints and their export.

Importing this package imports neither torch nor transformers.
"""

from noria.model.checkpoint import load_checkpoint, load_for_training, plain_checkpoint
from noria.model.export import exact_gguf, export_gguf, requantize_gguf
from noria.model.registry import DEFAULT_BASE, BaseModel, ModelConfig, resolve
from noria.model.render import Rendered, Renderer
from noria.model.tokenizer import IncrementalDecoder, Tokenizer, load_tokenizer

__all__ = [
    "DEFAULT_BASE",
    "BaseModel",
    "IncrementalDecoder",
    "ModelConfig",
    "Rendered",
    "Renderer",
    "Tokenizer",
    "exact_gguf",
    "export_gguf",
    "load_checkpoint",
    "load_for_training",
    "load_tokenizer",
    "plain_checkpoint",
    "requantize_gguf",
    "resolve",
]
