"""Numbers from Moments: NumPy and scipy.special only, nothing else of the project."""
