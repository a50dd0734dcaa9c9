"""Predictions for new inputs: the solved model, the job that outlives a kill, posterior variances, the table."""
