"""Flower on Ray with one Keras model per process, compiled once and given each client's weights in turn."""

# mypy: disable-error-code="import-not-found"

from flower_fedavg import kept_model, simulate

if __name__ == "__main__":
    simulate(kept_model)
