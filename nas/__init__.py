"""WHAT TO DO with spaces and controllers: networks, training, search, retraining, latency, and the command line."""
