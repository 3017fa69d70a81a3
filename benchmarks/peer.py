"""Runs TFX's own MNIST example (`tfx.examples.mnist`, inside the TFX package) on Fashion-MNIST, as it is configured.

    python -m benchmarks.peer records FOLDER             # the 60,000 training images in the example's format
    python -m benchmarks.peer run RECORDS OUTPUT data    # ExampleGen to Transform
    python -m benchmarks.peer run RECORDS OUTPUT whole   # ExampleGen to Pusher

Only the paths are ours, and oneDNN is on: module file, components, settings and Beam arguments are the example's.
"""

import json
import sys
from pathlib import Path


def write_records(folder: Path) -> None:
    """Writes the training images as the example wants them: 784 floats in -0.5 to 0.5 and the class."""
    import tensorflow as tf

    from components.example_gen.idx import read_idx
    from components.example_gen.kinds.idx_folder import find_files
    from components.example_gen.kinds.registry import list_files

    data = Path("data")
    files, _ = find_files(data, list_files(data))
    images, labels = read_idx(files["train", "images"]), read_idx(files["train", "labels"])
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "mnist.tfrecord")) as writer:
        for image, label in zip(images.reshape(len(images), -1) / 255.0 - 0.5, labels.tolist(), strict=True):
            example = tf.train.Example()
            example.features.feature["image_floats"].float_list.value.extend(image)
            example.features.feature["image_class"].int64_list.value.append(label)
            writer.write(example.SerializeToString())


def run(records: Path, output: Path, extent: str) -> None:
    """Runs the example's pipeline; `extent` is "data" or "whole"."""
    from tfx.examples.mnist import mnist_pipeline_native_keras as example
    from tfx.orchestration import pipeline
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    module_file = Path(example.__file__).with_name("mnist_utils_native_keras.py")
    output.mkdir(parents=True)
    created = example._create_pipeline(
        pipeline_name="mnist",
        pipeline_root=str(output / "artifacts"),
        data_root=str(records),
        module_file=str(module_file),
        serving_model_dir=str(output / "serving"),
        metadata_path=str(output / "metadata.db"),
        beam_pipeline_args=example._beam_pipeline_args,
    )
    only = pipeline.RunOptions(to_nodes=["ExampleValidator", "Transform"]) if extent == "data" else None
    LocalDagRunner().run(created, run_options=only)


def node_seconds(metadata_path: Path) -> dict[str, float]:
    """Returns the wall time of each node of the latest run, from ML Metadata."""
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata_path)
    store = metadata_store.MetadataStore(connection)
    types = {kind.id: kind.name.split(".")[-1] for kind in store.get_execution_types()}
    return {
        types[execution.type_id]: (execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000
        for execution in store.get_executions()
    }


if __name__ == "__main__":
    action, *arguments = sys.argv[1:]
    if action == "records":
        write_records(Path(arguments[0]))
    elif action == "run":
        run(Path(arguments[0]), Path(arguments[1]), arguments[2])
    else:
        print(json.dumps(node_seconds(Path(arguments[0]))))
