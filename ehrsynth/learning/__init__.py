"""From timelines to a patient model: additive counts, expectation-maximisation, nothing of too few people."""

from ehrsynth.learning.learner import learn
from ehrsynth.learning.settings import LearningProgress, LearningSettings

__all__ = ["LearningProgress", "LearningSettings", "learn"]
