"""The exceptions of the platform, all under one root."""


class ExpPlatformError(Exception):
    """Anything the platform itself reports as wrong."""


class ConfigError(ExpPlatformError):
    """A configuration that cannot be used; a retry gives the same."""


class DataError(ExpPlatformError):
    """Data that cannot be used; a retry gives the same."""


class LeaseError(ExpPlatformError):
    """Another run of the same experiment is under way."""
