"""Running federations on this machine: the command line, the in-process grid, reports."""
