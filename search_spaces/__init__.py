"""WHAT can be chosen: decisions and genotypes as pure data, and the modules a choice becomes."""
