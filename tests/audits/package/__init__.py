"""Rules about the package."""
