"""Surgery on Keras models: pruning, clustering, low rank, and training that sees quantization."""
