"""Image files: found, checked, decoded, kept, and read a batch at a time."""
