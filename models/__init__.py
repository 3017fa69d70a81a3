"""What happens to a tensor: decoding, standardization, augmentation, the network, training and its serving signatures."""
