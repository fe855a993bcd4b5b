"""Keras models returning logits and, where they have them, hidden states and what their self-attention does.

A model's output is a tensor of logits (n, classes), or a dict of ``logits`` and any of

- ``hidden``: a list of hidden states (n, ..., features), first layer first;
- ``attention``: a list of attention maps (n, heads, steps, steps), a row the weights of one query; where an example is
  several texts, of which each attends to itself, (n, heads, steps of all, steps of one);
- ``values``: a list of the value vectors (n, heads, steps, features) that the maps mix;
- ``mask``: (n, steps), 1 where a position is real and 0 where it is padding, for hidden states, maps and values of as
  many steps. Without it all positions are real.
"""
