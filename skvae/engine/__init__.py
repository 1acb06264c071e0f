"""Engine: building, training and applying models."""
