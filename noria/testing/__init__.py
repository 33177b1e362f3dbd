"""Fakes for the seams, written by hand and shipped, so that projects can test their tools and flows without a model."""

from noria.testing.scripted import ScriptedGenerator

__all__ = ["ScriptedGenerator"]
