"""Learning from people's judgement: preferences and thumbs as objectives of the training loop, and `finetune`, which takes every kind at once."""

from noria.align.finetune import finetune
from noria.align.preference import DirectPreference, KahnemanTversky, encode_pair, encode_thumbs

__all__ = ["DirectPreference", "KahnemanTversky", "encode_pair", "encode_thumbs", "finetune"]
