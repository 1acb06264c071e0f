"""Evaluation of synthetic tables: distances, classifiers, copies, and a report of all metrics."""
