"""Spark: how a session starts, and what makes a submitted stage start fast."""
