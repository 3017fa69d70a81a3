"""What this project adds to TFX: components, executors and resolver strategies, thin shells over plain functions."""
