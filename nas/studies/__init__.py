"""Experiments about the method: rankings, controllers compared, benchmarks, demonstrations, published tables.

Modules:
    benchmarks/: How fast this machine searches and retrains.
    controller_comparison/: Controllers held against each other.
    demonstrations/: The papers' demonstrations of learned permutations, each a function from settings to figures.
    ranking/: How well shared weights rank architectures.
    table_i: Table I of the ShuffleNASNet paper (arXiv:1812.02975).
"""
