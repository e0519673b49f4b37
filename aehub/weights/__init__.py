"""A model folder on disk, read strictly: config.json, model.safetensors, hashes, devices."""
