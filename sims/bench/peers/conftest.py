"""Keeps pytest from importing the peers' programs: they run in environments that have what they import."""

collect_ignore = ["programs"]
