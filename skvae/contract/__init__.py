"""scikit-learn's contract: arrays and frames in, arrays out. Nothing here knows a tensor."""
