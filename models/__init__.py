"""What happens to a tensor: decoding, standardization, augmentation, the network, its training and serving."""

import os

# TensorFlow computes with oneDNN by itself only where the processor has instructions meant for neural networks; on AVX2
# alone our network trains up to twice as fast with it (docs/LOG.md). Read when TensorFlow is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
