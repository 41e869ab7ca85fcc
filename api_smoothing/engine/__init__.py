"""The I/O: ask a provider for votes, cheaply and safely."""
