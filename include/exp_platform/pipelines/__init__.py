"""Runner 2: the same stages in one Spark session."""
