"""Thirty nights in minutes: what may happen to data that arrive in spans, and what should come of it."""
