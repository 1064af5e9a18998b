"""Patients from a model: who they are, their visits, and what happened in them."""

from ehrsynth.generation.generator import Generator

__all__ = ["Generator"]
