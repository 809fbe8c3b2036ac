"""The search spaces: decisions and genotypes as pure data, and the modules that a choice becomes."""
