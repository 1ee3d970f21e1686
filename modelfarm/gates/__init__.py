"""The gates: what an artifact must pass before it is published, and how each is measured."""
