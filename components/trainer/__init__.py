"""TFX's Trainer, which records how the training went."""
