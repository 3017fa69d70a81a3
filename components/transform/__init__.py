"""TFX's Transform, told by the examples themselves what they hold."""
