"""What an architecture costs beside its accuracy, foretold from its parts, and what a search makes of it."""
