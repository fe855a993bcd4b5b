"""What crosses the network: reductions of an update, numbers of few bits, feedback, and the blob they are sent as."""
