"""What an exported model says of itself: the shape of its images and its classes, readable without TensorFlow.

Synopsis:

    write_card(folder, (28, 28), class_names)
    read_card(folder)      # {"image_shape": [28, 28], "class_names": ["T-shirt/top", ...]}
"""

import json
from pathlib import Path

from models.files import write_text

CARD_FILE = Path("assets.extra", "model.json")


def write_card(folder: Path, image_shape: tuple[int, ...], class_names: tuple[str, ...]) -> None:
    """Writes the card into the folder of a SavedModel."""
    path = folder / CARD_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    card = {"image_shape": list(image_shape), "class_names": list(class_names)}
    write_text(path, json.dumps(card, indent=2) + "\n")


def read_card(folder: Path) -> dict | None:
    """Returns `image_shape` and `class_names` of an exported model, None if it has no card that says them."""
    try:
        card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        return {name: card[name] for name in ("image_shape", "class_names")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
