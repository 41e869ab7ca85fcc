"""Storage in PostgreSQL, for many machines; see `storage`, and `opening` for how one comes by it."""
