"""Other federated simulators on the work of ``fedkd bench``, each in a virtual environment of its own."""
