"""What outlives a query: answers, budgets, the rate limiter, marks."""
