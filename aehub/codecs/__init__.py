"""Codecs: clips to `.aev` files and back, groups of pictures, rate control, random access."""
