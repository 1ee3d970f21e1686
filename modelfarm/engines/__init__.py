"""Engines: what runs the jobs of a plan."""
