"""What everything stands on: errors, files, seeds, tensors, the process's settings. Knows nothing of the rest."""
