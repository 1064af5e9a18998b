"""Patients from a model: who they are, their visits, and what happened in them."""

from ehrsynth.generation.front_door import Generator

__all__ = ["Generator"]
