"""Flower's client side."""
