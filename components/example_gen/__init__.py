"""Images in, TFRecord shards out: IDX files, splits, records, and the ExampleGen that puts them together."""
