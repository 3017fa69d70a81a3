"""Refuses data with anomalies."""
