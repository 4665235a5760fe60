"""What it costs: prices, budgets, usage, savings, receipts, imports and exports."""
