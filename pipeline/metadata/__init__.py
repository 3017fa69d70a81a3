"""Answers from ML Metadata: what happened in a run, where a model comes from, why a node ran."""
