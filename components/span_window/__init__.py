"""Spans of data: those that are looked at before a new one is let in, and those that a model is trained on."""
