"""Makes a servable model of what was trained."""
