"""What a task asks of a model: its loss, its metrics, and when two models agree."""
