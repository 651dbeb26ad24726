"""`triton-python env`: packs Python environments for models, and checks what a model would start with."""
