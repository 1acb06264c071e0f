"""What rows are: where they come from, what their columns mean, how they become tensors."""
