"""Scores of predictions, the table that keeps them, the laws fitted to them, and what is chosen by them."""
