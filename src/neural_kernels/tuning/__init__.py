"""Tuning: the search for hyperparameters of an architecture family (paper, Appendix C).

A trial draws hyperparameters from a ``space``, which make a ``candidate``; ``assessment`` computes its kernel
on a few examples and judges it by an ``objective``. Jobs on many machines share the ``journal``, which the
sampler learns from; what counts is the record that each trial leaves (``records``).
"""
