"""Experiment + Aggregates -> result rows; one file an analysis, one registry."""
