"""Measures a candidate and blesses or refuses it."""
