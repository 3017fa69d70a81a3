"""The columns of the file of predictions, for those who write it and those who read it.

`source` is the file that a record came from, `example` its place in the order of all, `label` what it is, null if
unknown. `prediction` is the most probable class, `class_name` its name, `probability` its probability, `probabilities`
those of all classes. A column for each slicing but the class follows where the records are an Examples artifact's.
"""

import pyarrow as pa

PREDICTIONS_FILE = "predictions.parquet"
COLUMNS = pa.schema(
    {
        "source": pa.string(),
        "example": pa.int64(),
        "label": pa.int64(),
        "prediction": pa.int64(),
        "class_name": pa.string(),
        "probability": pa.float32(),
        "probabilities": pa.list_(pa.float32()),
    }
)
