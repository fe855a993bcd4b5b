"""Publishing a run's model for devices, and serving it."""
