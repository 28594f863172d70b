"""Pure Arrow functions on one bucket of users: exposures and outcomes -> per-user rows, Moments, quality counts."""
