"""ClipCap for t2i."""
