"""Training as a TFLite file: a client's whole step in operations that LiteRT has built in."""
