"""CLIP-GEN for t2i."""
