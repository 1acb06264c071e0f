"""The scikit-learn API: arrays and data frames in, arrays out. Nothing here uses tensors."""
