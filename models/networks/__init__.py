"""The networks that can be trained: each module here registers its own, see `registry.py`."""

import importlib
import pkgutil

from models.networks.registry import NETWORKS, NetworkInputs, build_network

__all__ = ["NETWORKS", "NetworkInputs", "build_network"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
