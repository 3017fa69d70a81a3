"""What an exported model says of itself: its images and its classes, readable without TensorFlow.

Beside shape and classes: how an image of another size was fitted, and within which ranges mean, standard deviation,
share of black and of saturated pixels lay in training.

Synopsis:

    write_card(folder, (28, 28), class_names)
    read_card(folder)["image_shape"]      # [28, 28]; also class_names, class_values, image_fit, ranges
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from models.files import write_text

CARD_FILE = Path("assets.extra", "model.json")


def write_card(
    folder: Path,
    image_shape: tuple[int, ...],
    class_names: tuple[str, ...],
    *,
    class_values: Sequence[int | str] | None = None,
    image_fit: str = "pad",
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Writes the card into the folder of a SavedModel."""
    path = folder / CARD_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    card = {"image_shape": list(image_shape), "class_names": list(class_names)}
    # The label that each class has in the files it was trained on; its number where nothing else is known.
    values = list(range(len(class_names)) if class_values is None else class_values)
    card |= {"class_values": values, "image_fit": image_fit, "ranges": dict(ranges or {})}
    write_text(path, json.dumps(card, indent=2) + "\n")


def read_card(folder: Path) -> dict | None:
    """Returns what `write_card` wrote, None if no card says shape and classes."""
    try:
        card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        required = {name: card[name] for name in ("image_shape", "class_names")}
        values = card.get("class_values", list(range(len(required["class_names"]))))
        return {
            "class_values": values,
            "image_fit": card.get("image_fit", "pad"),
            "ranges": card.get("ranges", {}),
            **required,
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
