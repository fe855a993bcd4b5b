"""From a run or a Keras model to the device file that meets a budget."""
