"""How long models take: measured side by side, over batch sizes, backends, precisions and threads."""
