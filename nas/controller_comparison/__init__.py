"""Controllers held against each other: in one table, over many seeds, under the same budget."""
