"""Evaluation: how near synthetic records are to real ones, metric by metric."""

from ehrsynth.evaluation.metric import Comparison, Metric, MetricResult
from ehrsynth.evaluation.report import EvaluationReport, evaluate

__all__ = ["Comparison", "EvaluationReport", "Metric", "MetricResult", "evaluate"]
