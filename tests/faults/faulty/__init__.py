"""What the fault matrix is made of."""
