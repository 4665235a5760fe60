"""A loopback server that speaks the providers protocols, for demos and tests."""
