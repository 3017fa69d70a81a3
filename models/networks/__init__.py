"""The networks that can be trained, by name; `registry.py` says what one is.

Another is a module here that registers a function, and an import below: the cache keys of the nodes count what is
imported.
"""

from models.networks import plain, residual
from models.networks.registry import NETWORKS, NetworkInputs, build_network, check_kind

__all__ = ["NETWORKS", "NetworkInputs", "build_network", "check_kind", "plain", "residual"]
