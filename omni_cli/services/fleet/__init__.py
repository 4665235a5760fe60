"""What is connected: providers, models, roles, their discovery, setup and changes."""
