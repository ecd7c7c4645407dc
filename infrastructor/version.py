"""The version that is installed."""

from importlib import metadata


def installed_version() -> str:
    """Of the distribution, `0` in a tree that was never installed."""
    try:
        return metadata.version("infrastructor")
    except metadata.PackageNotFoundError:
        return "0"
