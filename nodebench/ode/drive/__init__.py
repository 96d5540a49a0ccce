"""How steps follow each other: the adaptive loop, the walk along a grid, and what they decide by."""
