"""Flower's server side."""
