"""The way of one request: plan, reserve, send, read, settle, fall back, remember."""
