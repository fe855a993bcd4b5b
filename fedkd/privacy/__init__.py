"""Differential privacy of each client: the bound on what one may change, noise, and what both are worth."""
