"""The public functions behind `aehub.compress`, `aehub.edit` and `aehub.animate`."""
