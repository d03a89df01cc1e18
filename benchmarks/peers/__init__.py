"""The same job with what people would put together instead, each set up as its own documentation recommends."""
