"""Reports: figures and tables for people, all drawn from the metrics table."""
