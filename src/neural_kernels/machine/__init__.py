"""The limits of a machine and its signals, as a person can act on them."""
