"""Keras models returning logits and, where they have them, hidden states and attention maps.

A model's output is a tensor of logits (n, classes), or a dict with the keys ``logits``, ``hidden`` (a list of hidden
states, first layer first, features on the last axis) and ``attention`` (a list of maps (n, heads, steps, steps)).
"""
