"""The only SQL: one module a table family."""
