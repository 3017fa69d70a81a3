"""The portable form of a served model: one LiteRT file, which an independent runtime without TensorFlow answers from.

Synopsis:

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(saved_model / LITERT_FILE))               # saved_model: folder of an export
    answers = interpreter.get_signature_runner()(images=images)             # uint8 [batch, 28, 28], any batch
    answers["class_name"], answers["probabilities"]
"""

from pathlib import Path

import tensorflow as tf

from models.plain_paths import plain

# SavedModel's folder for what comes with a model; a model server copies it along and reads nothing there that it
# doesn't know.
LITERT_FILE = Path("assets.extra", "model.tflite")


def write_litert(folder: Path) -> None:
    """Converts the signature `predict_images` of the SavedModel in `folder` to LiteRT, in float32, and puts it there.

    From the saved files: converted from the functions in memory, the model answered NaN.
    """
    with plain(folder) as named:
        saved = tf.saved_model.load(str(named))
    path = folder / LITERT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        tf.lite.TFLiteConverter.from_concrete_functions([saved.signatures["predict_images"]], saved).convert()
    )
