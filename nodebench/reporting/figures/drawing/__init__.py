"""What every figure is made of: the drawing and its style, panels placed in inches, and saving."""
