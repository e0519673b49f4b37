"""Search by content: fingerprints of clips, an index of many, matches and labels by example."""
