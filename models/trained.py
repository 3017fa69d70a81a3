"""What a training learned, apart from how it is served: an edited export makes another model of it, untrained.

A folder holds it: the weights as one NumPy archive, and `learned.json`, which says what they are the weights of. The
latter is written last and under a temporary name, so that a folder without it was never finished.

Synopsis:

    save_trained(folder, trained)
    load_trained(folder)(images)      # uint8 or float32 [batch, height, width, channels] to logits [batch, classes]
"""

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from models.calibration import calibrated
from models.config import NetworkConfig, TrainingConfig
from models.errors import ArtifactError
from models.examples import Examples
from models.files import write_text
from models.images import with_channels
from models.networks import NetworkInputs, build_network

# Not the names by which TensorFlow or a model server knows a SavedModel.
LEARNED_FILE, WEIGHTS_FILE = "learned.json", "weights.npz"


class TrainedError(ArtifactError):
    """A folder does not hold what a training leaves; told in one line."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained network, and all that it takes to build it again.

    Attributes:
      network: which one, and its shape.
      image_shape: (height, width) or (height, width, channels) of the images it was trained on.
      class_names: in the order of the logits.
      mean, variance: of each pixel over the training split, float64 [height, width, channels].
      temperature: that the logits are divided by.
      weights: in Keras's order.
    """

    network: NetworkConfig
    image_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    mean: np.ndarray
    variance: np.ndarray
    temperature: float
    weights: list[np.ndarray]

    def model(self) -> keras.Model:
        """Builds the network in float32, whatever it was trained in, with its weights; its logits are calibrated.

        Raises:
          TrainedError: the weights are those of another network.
        """
        shape = with_channels(self.image_shape)
        inputs = NetworkInputs(
            input_shape=shape,
            classes=len(self.class_names),
            mean=self.mean,
            variance=self.variance,
            sample=np.zeros((1, *shape), np.uint8),
        )
        model = build_network(self.network, inputs, seed=0)
        expected, found = [weight.shape for weight in model.weights], [weight.shape for weight in self.weights]
        if expected != found:
            raise TrainedError(
                f"network {self.network.kind}: expected the shapes of the {len(expected)} weights that its code makes, "
                f"found {len(found)} weights that do not fit. Run the Trainer again."
            )
        model.set_weights(self.weights)
        return calibrated(model, self.temperature, shape)

    def obstacle(self, network: NetworkConfig, examples: Examples) -> str:
        """Returns why a training of `network` on `examples` cannot begin with this, "" if it can.

        Classes that are new come behind those that were known.
        """
        # The view has no weights.
        if dataclasses.replace(self.network, mirrored_view=network.mirrored_view) != network:
            return "the served model is another network"
        if self.image_shape != examples.image_shape:
            return "the served model is of images of another shape"
        if self.class_names != examples.class_names[: len(self.class_names)]:
            return "the served model tells other classes apart"
        return ""

    def begin(self, model: keras.Model) -> None:
        """Gives a model that is to be trained these weights; what it has for classes that are new stays its own."""
        weights = model.get_weights()
        for new, old in zip(weights, self.weights, strict=True):
            new[..., : old.shape[-1]] = old
        model.set_weights(weights)

    def digest(self) -> str:
        """Returns the SHA-256 (hexadecimal) over all of it: the same from the same training, whoever saved it."""
        plain = [dataclasses.asdict(self.network), self.image_shape, self.class_names, self.temperature]
        digest = hashlib.sha256(json.dumps(plain).encode())
        for array in (self.mean, self.variance, *self.weights):
            digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def save_trained(folder: Path, trained: Trained) -> None:
    """Writes what a training learned into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LEARNED_FILE).unlink(missing_ok=True)
    values = {field.name: getattr(trained, field.name) for field in dataclasses.fields(trained)}
    arrays = {name: values.pop(name) for name in ("mean", "variance")}
    arrays |= {f"weight_{number}": weight for number, weight in enumerate(values.pop("weights"))}
    np.savez(folder / WEIGHTS_FILE, **arrays)
    values["network"] = dataclasses.asdict(trained.network)
    write_text(folder / LEARNED_FILE, json.dumps(values, indent=2) + "\n")


def load_trained(folder: Path) -> keras.Model:
    """Returns the model that a training left in a folder, in float32, calibrated.

    Raises:
      TrainedError: the folder holds none, a damaged one, or one of other code.
    """
    return read_trained(folder).model()


def read_trained(folder: Path) -> Trained:
    """Reads what `save_trained` wrote; errors as in `load_trained`."""
    try:
        values = json.loads((folder / LEARNED_FILE).read_text())
        with np.load(folder / WEIGHTS_FILE) as file:
            arrays = {name: file[name] for name in file.files}
        return Trained(
            network=TrainingConfig.from_dict({"network": values["network"]}).network,
            image_shape=tuple(values["image_shape"]),
            class_names=tuple(values["class_names"]),
            mean=arrays.pop("mean"),
            variance=arrays.pop("variance"),
            temperature=values["temperature"],
            weights=[arrays[f"weight_{number}"] for number in range(len(arrays))],
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise TrainedError(
            f"{folder}: expected {LEARNED_FILE} and {WEIGHTS_FILE}, as a finished training leaves them, found "
            f"{type(error).__name__}: {error}. Run the Trainer again."
        ) from error
