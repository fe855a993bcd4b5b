"""Flower on Ray as its TensorFlow quickstart does it: a new Keras model for every client and round."""

# mypy: disable-error-code="import-not-found"

from flower_fedavg import fresh_model, simulate

if __name__ == "__main__":
    simulate(fresh_model)
