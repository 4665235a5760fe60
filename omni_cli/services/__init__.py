"""Use cases: they own the sequence of things."""
