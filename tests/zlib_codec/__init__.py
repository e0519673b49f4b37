"""A codec of another package: zlib of quantised planes, for any format of pictures."""
