"""Asks the served model about a new span: how many of its labels it agrees with.

Synopsis:

    right, asked = agreement(saved_model, examples)      # e.g. 1874 of 2000; None where the model is of other images
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

from models.card import read_card
from models.examples import Examples
from models.features import TEST, TRAIN, VAL
from models.images import as_written
from models.memory import inference_rows
from models.plain_paths import plain

_MOST = 2_000


def agreement(saved_model: Path, examples: Examples) -> tuple[int, int] | None:
    """Returns for how many images the model answers their label, and how many it was asked about.

    Those of classes that it does not know are not asked.

    Args:
      saved_model: folder of the served model.
      examples: of a span that it was not trained on; the first 2,000 of them are asked.
    """
    card = read_card(saved_model)
    known = len(card["class_names"]) if card else 0
    if not known or tuple(card["image_shape"]) != examples.image_shape:
        return None
    with plain(saved_model) as named:
        answer = tf.saved_model.load(str(named)).signatures["predict_images"]
    right = asked = 0
    for split in (TEST, VAL, TRAIN):
        batches = examples.records(split).take(_MOST - asked).batch(inference_rows(examples.image_shape))
        for images, labels in batches.map(as_written(examples.parse), 1):
            of_known = labels.numpy() < known
            shaped = tf.reshape(images, [-1, *examples.image_shape])
            found = answer(images=shaped)["class_id"].numpy()
            right += int(np.sum((found == labels.numpy()) & of_known))
            asked += int(of_known.sum())
        if asked >= _MOST:
            break
    return (right, asked) if asked else None
