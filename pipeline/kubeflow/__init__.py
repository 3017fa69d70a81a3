"""The pipeline on Kubeflow Pipelines: what is compiled here, and what each node's container runs there."""
