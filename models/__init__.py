"""What happens to a tensor: decoding, standardization, augmentation, the network, its training and serving."""
