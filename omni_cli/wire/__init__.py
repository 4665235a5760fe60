"""Every protocol once: what is written to a provider and to a caller, and what is read."""
