"""How well it works: comparisons, tests, health, advice, alerts."""
