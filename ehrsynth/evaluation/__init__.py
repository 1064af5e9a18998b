"""Evaluation: how near synthetic records are to real ones, metric by metric."""

from ehrsynth.evaluation.metric import Comparison, Metric, MetricResult
from ehrsynth.evaluation.parted import RecordParts
from ehrsynth.evaluation.report import EvaluationReport, can_be_in_parts, evaluate, evaluate_parts

__all__ = [
    "Comparison",
    "EvaluationReport",
    "Metric",
    "MetricResult",
    "RecordParts",
    "can_be_in_parts",
    "evaluate",
    "evaluate_parts",
]
