"""A study: its config file read, checked and as typed values; where its results lie; comparisons of studies."""
