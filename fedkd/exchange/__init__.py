"""What crosses the network: the energy schedule, the SVD and the payload."""
