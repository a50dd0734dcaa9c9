"""Simple methods that a kernel is held against, fitted to the same training examples."""
