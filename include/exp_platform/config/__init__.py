"""What an experiment is and where the platform keeps things: read from YAML, checked, frozen."""
