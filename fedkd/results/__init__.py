"""What a run has shown: its rounds, its summary, its device files, and the folder they lie in."""
