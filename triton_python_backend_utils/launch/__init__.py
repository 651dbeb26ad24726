"""How the backend starts a model's process; nothing here is for models to import."""
