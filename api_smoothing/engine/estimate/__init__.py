"""What a run would cost, from prices, vote shares and the exact distribution of stopping times."""
