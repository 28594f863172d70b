"""Experiment + Aggregates -> result rows; one file per analysis, one registry."""
