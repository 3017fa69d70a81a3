"""What happens to a tensor: decoding, standardization, augmentation, the network, its training and serving."""

import os

# What TensorFlow is told where the user says nothing else; it is read when that is imported. By itself it computes with
# oneDNN only where the processor has instructions meant for neural networks; on AVX2 alone our network trains up to
# twice as fast with it (docs/LOG.md). Here, for whatever trains or answers imports this package, Beam's workers too.
ENVIRONMENT = {"TF_ENABLE_ONEDNN_OPTS": "1"}
for _name, _value in ENVIRONMENT.items():
    os.environ[_name] = os.environ.get(_name) or _value
