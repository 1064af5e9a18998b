"""Readers turn a source into Records and say what they set aside."""

from ehrsynth.readers.report import ReadReport, Reader, SetAside

__all__ = ["ReadReport", "Reader", "SetAside"]
