"""The terminal interface. Nothing here is imported before someone opens it."""
