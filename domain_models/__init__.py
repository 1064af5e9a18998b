"""Packaged data; read it only through `ehrsynth.resources`."""
