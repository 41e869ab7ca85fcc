"""Tests here need psycopg, and most of them a server."""

from __future__ import annotations

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed")

from postgres_fixtures import database, postgres

__all__ = ["database", "postgres"]
