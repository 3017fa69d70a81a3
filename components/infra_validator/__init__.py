"""Serves a candidate in a process of its own."""
