"""The files of predictions and their columns, for those who write them and those who read them.

`source` is the file that a record came from, `example` its place in the order of all, `label` what it is, null if
unknown. `prediction` is the most probable class, `class_name` its name, `probability` its probability, `probabilities`
those of all classes. A column for each slicing but the class follows, and one for the span, where the records are an
Examples artifact's. The baseline's file has the same rows in the same row groups.
"""

import pyarrow as pa

PREDICTIONS_FILE = "predictions.parquet"
# Of the model that the candidate is compared with, if there is one.
BASELINE_FILE = "baseline.parquet"
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
