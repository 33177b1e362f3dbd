"""Model files: the base-model registry, tokenizers, rendering of messages, checkpoints and their export.

Importing this package imports neither torch nor transformers.
"""

from noria.model.architectures import (
    ARCHITECTURES,
    Architecture,
    ObjectiveName,
    Shape,
    check_architecture,
    make_config,
    new_model,
    num_parameters,
)
from noria.model.checkpoint import check_decoder, load_checkpoint, load_for_training, plain_checkpoint, read_config
from noria.model.export import check_gguf, exact_gguf, export_gguf, has_gguf, requantize_gguf, served_gguf
from noria.model.new_tokenizer import DENOISE_TOKENS, ENCODER_TOKENS, TokenizerKind, train_tokenizer
from noria.model.registry import DEFAULT_BASE, BaseModel, ModelConfig, resolve
from noria.model.render import Rendered, Renderer
from noria.model.soft_tokens import soft_ids, with_soft_tokens
from noria.model.tokenizer import IncrementalDecoder, Tokenizer, load_tokenizer

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_BASE",
    "DENOISE_TOKENS",
    "ENCODER_TOKENS",
    "Architecture",
    "BaseModel",
    "IncrementalDecoder",
    "ModelConfig",
    "ObjectiveName",
    "Rendered",
    "Renderer",
    "Shape",
    "Tokenizer",
    "TokenizerKind",
    "check_architecture",
    "check_decoder",
    "check_gguf",
    "exact_gguf",
    "export_gguf",
    "has_gguf",
    "load_checkpoint",
    "load_for_training",
    "load_tokenizer",
    "make_config",
    "new_model",
    "num_parameters",
    "plain_checkpoint",
    "read_config",
    "requantize_gguf",
    "resolve",
    "served_gguf",
    "soft_ids",
    "train_tokenizer",
    "with_soft_tokens",
]
