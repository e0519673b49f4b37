"""`sprite-motion`: walk cycles of a character from one still."""
