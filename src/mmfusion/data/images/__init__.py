"""Image files: finding, checking, decoding, caching, and reading in batches."""
