"""A node of a federation: the Flower app, its part in a round, and where it keeps its state."""
