"""What the environment says of Keras and TensorFlow: what this project needs its own way, and what is obeyed and told.

Keras's settings are the pipeline's: images have their channels last, weights are float32, the backend is TensorFlow,
whatever a keras.json or a variable says. What makes TensorFlow sum in another order, or elsewhere, is the user's to
say; it is told and kept, for a result follows from it: without oneDNN a smoke run comes to 86.9 % and not to 87.3 %.

Synopsis:

    with taken_over(os.environ, folder) as lines:     # before Keras is imported; folder: a temporary one, empty
        list(lines)
    steering({"OMP_NUM_THREADS": "1"})                # {"OMP_NUM_THREADS": "1"}
"""

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

from components.errors import InputError
from models import ENVIRONMENT, host

_KERAS = {"backend": "tensorflow", "floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
# By these Keras ends any training early, and a run would keep what came of it for the whole.
_SHORTENING = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH")
# Variables, and beginnings of them, that change what is computed, or with what.
_STEERING = (
    "CUDA_VISIBLE_DEVICES",
    "DNNL_",
    "MKL_",
    "OMP_",
    "ONEDNN_",
    "TF_CUDNN_DETERMINISTIC",
    "TF_DETERMINISTIC_OPS",
    "TF_DISABLE_MKL",
    "TF_ENABLE_",
    "TF_FORCE_",
    "TF_NUM_INTEROP_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_USE_",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
)


@contextlib.contextmanager
def taken_over(environ: MutableMapping[str, str], folder: Path) -> Iterator[list[str]]:
    """Has Keras, gRPC and their like find the pipeline's own settings within the block.

    Args:
      environ: of this process; as it was behind the block.
      folder: where `KERAS_HOME` leads to, and `HOME` for a user who has none.

    Yields:
      A line of what would have been found, and is not obeyed; a line of what is obeyed and changes results.

    Raises:
      InputError: Python was started so that libraries cannot be imported.
    """
    if sys.flags.optimize > 1:
        raise InputError(
            "PYTHONOPTIMIZE=2 (python -OO): expected docstrings, which Apache Beam adds to, found Python started "
            "without them. Unset it, or set it to 1."
        )
    before = dict(environ)
    try:
        yield _take_over(environ, folder)
    finally:
        environ.clear()
        environ.update(before)


def _take_over(environ: MutableMapping[str, str], folder: Path) -> list[str]:
    passed_over = _keras_settings(environ)
    backend, legacy = environ.get("KERAS_BACKEND", ""), environ.pop("TF_USE_LEGACY_KERAS", "")
    passed_over += [f"KERAS_BACKEND={backend}"] if backend not in ("", _KERAS["backend"]) else []
    passed_over += [f"TF_USE_LEGACY_KERAS={legacy}"] if legacy else []
    passed_over += [f"{name}={value}" for name in _SHORTENING if (value := environ.pop(name, ""))]
    if any(option.startswith("error") for option in sys.warnoptions):
        # What TFX and TensorFlow warn of while they are imported would end the run.
        passed_over.append(f"PYTHONWARNINGS={','.join(sys.warnoptions)}")
        warnings.simplefilter("default")
    (folder / "keras.json").write_text(json.dumps(_KERAS), encoding="utf-8")
    environ |= {"KERAS_BACKEND": str(_KERAS["backend"]), "KERAS_HOME": str(folder)}
    # Nothing is shown on a screen, and a name that Matplotlib does not know would be an error.
    environ["MPLBACKEND"] = "agg"
    # Else gRPC would ask the proxy of http_proxy for Beam's servers, also for those on localhost.
    environ.setdefault("grpc_proxy", "")
    own = host.home()
    if own is None or not os.access(own, os.W_OK):
        # Whatever looks for settings or a cache there while it is imported, and leaves what Python then misses.
        environ["HOME"] = str(folder)
    lines = [f"not obeyed, for the pipeline needs its own: {'; '.join(passed_over)}"] if passed_over else []
    if obeyed := steering(environ):
        told = " ".join(f"{name}={value}" for name, value in obeyed.items())
        lines.append(f"obeyed, and may change results: {told}")
    return lines


def steering(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that steer what TensorFlow computes, by name; not those that say what holds anyway."""
    return {
        name: value
        for name, value in sorted(environ.items())
        if name.startswith(_STEERING) and value and ENVIRONMENT.get(name) != value
    }


def _keras_settings(environ: Mapping[str, str]) -> list[str]:
    """Returns those settings of the user's keras.json that are not the pipeline's, in a line."""
    own = host.home()
    folder = Path(environ["KERAS_HOME"]) if environ.get("KERAS_HOME") else own and own / ".keras"
    try:
        settings = json.loads((folder / "keras.json").read_text(encoding="utf-8")) if folder else {}
        others = {name: settings[name] for name in _KERAS if name in settings and settings[name] != _KERAS[name]}
    except (OSError, ValueError, TypeError):
        # Keras passes it over too.
        return []
    told = ", ".join(f"{name} {value}" for name, value in others.items())
    return [f"{told} ({folder / 'keras.json'})"] if others else []
