"""Building a life-course model: a network whose margins are published ones, and the content made ready to draw from."""

from ehrsynth.learning.life_course.content import read_content
from ehrsynth.learning.life_course.network import NetworkBuilder

__all__ = ["NetworkBuilder", "read_content"]
