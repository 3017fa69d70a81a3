"""The schema that the data must fit, curated or inferred."""
