"""Adds to omni: the protocol ``toy``, the importer ``toy-notes``, the scorer ``polite``."""
