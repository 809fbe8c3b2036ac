"""HOW to choose: controllers see nothing but decisions and return the actions they took."""
