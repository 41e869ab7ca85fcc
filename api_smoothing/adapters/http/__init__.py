"""Any JSON endpoint that a TOML file describes."""

from api_smoothing.adapters.http.adapter import HttpAdapter, credentials, load

__all__ = ["HttpAdapter", "credentials", "load"]
