"""Synthetic raw data with a known truth: users with a latent propensity, their exposures and their outcomes."""
