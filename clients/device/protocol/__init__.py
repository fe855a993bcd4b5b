"""What device and hub say to each other; all that either side knows of the other."""
