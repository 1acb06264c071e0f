"""Synthetic tables against real ones: distances, classifiers, copies, and all in one report."""
