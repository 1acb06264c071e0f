"""What a fit does: build a model, train it, and use it on rows."""
