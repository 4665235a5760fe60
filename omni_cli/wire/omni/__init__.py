"""omni's own chat, of the specs."""
