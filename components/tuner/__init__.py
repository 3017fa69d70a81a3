"""TFX's Tuner, whose trials are in ML Metadata."""
