"""Storage in PostgreSQL, for many machines; see `storage`. psycopg is imported when it is opened."""
