"""Readers turn a source into Records and say what they set aside."""

from ehrsynth.readers.report import Reader, ReadReport, SetAside

__all__ = ["ReadReport", "Reader", "SetAside"]
