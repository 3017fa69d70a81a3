"""What an exported model says of itself: its images and its classes, readable without TensorFlow.

Beside shape and classes: how an image of another size was fitted, and within which ranges mean, standard deviation,
share of black and of saturated pixels lay in training; and a digest by which one model is told from another.

Synopsis:

    write_card(folder, (28, 28), class_names)
    read_card(folder)["image_shape"]      # [28, 28]; also class_names, class_values, image_fit, ranges
"""

import hashlib
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
    content: str = "",
) -> None:
    """Writes the card into the folder of a SavedModel.

    With `content`, which says what was learned and by which code it is exported, the card has a digest of that and of
    all else in it: the files of one model differ from export to export, in names and in a random number.
    """
    path = folder / CARD_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    card = {"image_shape": list(image_shape), "class_names": list(class_names)}
    # The label that each class has in the files it was trained on; its number where nothing else is known.
    values = list(range(len(class_names)) if class_values is None else class_values)
    card |= {"class_values": values, "image_fit": image_fit, "ranges": dict(ranges or {})}
    if content:
        card["digest"] = hashlib.sha256(json.dumps([content, card]).encode()).hexdigest()
    write_text(path, json.dumps(card, indent=2) + "\n")


def read_digest(folder: Path) -> str | None:
    """Returns by what the model in a folder is told from others, None if its card does not say."""
    try:
        found = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))["digest"]
        return found if isinstance(found, str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
