"""Device files: converted, run as a device runs them, measured, and searched within a budget."""
