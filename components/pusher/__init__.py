"""Publishes a blessed model."""
