"""Patients of a life-course model: who they are, what befalls them, whom they see, what is found and done."""

from ehrsynth.generation.life_course.generator import LifeCourseGenerator

__all__ = ["LifeCourseGenerator"]
