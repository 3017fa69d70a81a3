"""What runs and with which settings: configuration, the DAG, the runner and what a run leaves behind."""
