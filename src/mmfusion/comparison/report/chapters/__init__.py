"""The parts of a comparison's chapter, a file each."""
