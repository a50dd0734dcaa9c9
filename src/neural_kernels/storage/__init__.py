"""Files that appear whole, are known again when they are read, and are written by one job at a time."""
