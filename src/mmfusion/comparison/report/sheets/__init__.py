"""Pages and pictures of explained cases."""
