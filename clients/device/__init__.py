"""On a device: fetch a model, trust only what is signed and passed its trial, and keep the last good one.

A distribution of its own, ``fedkd-device``: nothing here imports the rest of the project.
"""
