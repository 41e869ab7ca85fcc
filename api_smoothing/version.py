"""The version of this package; pyproject.toml and CHANGELOG.md say the same."""

__version__ = "0.1.0"
