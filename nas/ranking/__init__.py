"""How well shared weights rank architectures: the same cells scored with them and trained stand-alone."""
