"""``fedkd bench``: what the machine can do, and how much of it the framework uses."""
