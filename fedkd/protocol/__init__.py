"""The FedKD protocol without Flower and without TensorFlow: states, messages, rounds."""
