"""What reaches a device: pruning, conversion to TFLite and the runtime that checks every file."""
