"""Laws of tracking: every figure of a run once in each log."""
