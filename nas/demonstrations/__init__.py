"""The papers' demonstrations of learned permutations, each a function from settings to figures."""
