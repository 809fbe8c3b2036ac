"""Whether a search is healthy: what every epoch is recorded by, and when a user is warned."""
