"""What a finished run says: its folder read back, its plots, its page and its closing table."""
