"""Evaluation: sets and their cases, runs and how far they are, every answer with its score."""

from apps.evals.admin import runs, sets

__all__ = ["runs", "sets"]
