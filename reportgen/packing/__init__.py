"""`reportgen pack`: a finished site as one file, smaller where it must be."""
