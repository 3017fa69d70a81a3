"""The statistics that standardize each pixel, by TensorFlow Transform."""
