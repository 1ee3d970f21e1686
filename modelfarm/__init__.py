"""A build farm that turns trained models into deployment artifacts proven to compute the same thing."""

__version__ = "0.1.0"
