"""The artifact types of this project under the names that Kubeflow Pipelines takes.

There a type is named MODULE.CLASS, with one dot, and imported by that name in the container. ML Metadata has them under
their own names, which must stay, so they are renamed while the pipeline is compiled.

Synopsis:

    with renamed():
        DataBlessing.TYPE_NAME      # "kubeflow_runner.DataBlessing"
    DataBlessing.TYPE_NAME          # "DataBlessing"
"""

import contextlib
from collections.abc import Iterator

from components.artifacts import Predictions
from components.data_gate.component import DataBlessing

_MODULE = "kubeflow_runner"
TYPES = {kind.__name__: kind for kind in (DataBlessing, Predictions)}


@contextlib.contextmanager
def renamed() -> Iterator[None]:
    """Has the types named as Kubeflow takes them within the block."""
    before = {kind: kind.TYPE_NAME for kind in TYPES.values()}
    try:
        for name, kind in TYPES.items():
            kind.TYPE_NAME = f"{_MODULE}.{name}"
        yield
    finally:
        for kind, name in before.items():
            kind.TYPE_NAME = name
