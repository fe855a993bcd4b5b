"""Real machines: what Flower's SuperLink and SuperNodes need, and a whole federation of them on this one."""
