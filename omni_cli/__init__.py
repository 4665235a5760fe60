"""omni: fleet management for AI models, in the terminal."""

__version__ = "0.1.0"
