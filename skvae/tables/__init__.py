"""Tables: sources of rows, column types, and conversion to tensors."""
