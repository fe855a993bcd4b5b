"""On a device: fetch a model, believe only what is signed and what it tried, and keep the last good one.

A distribution of its own, ``fedkd-device``: nothing here imports the rest of the project.
"""
