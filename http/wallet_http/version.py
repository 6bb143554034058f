"""Which version of this program runs."""

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """Return the version that is installed."""
    try:
        return version("wallet-engine")
    except PackageNotFoundError:
        return "0"
