"""Asks a model about many records and keeps its predictions."""
