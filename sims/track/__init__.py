"""Tracking: a run's figures in the logs of other tools, round by round."""
