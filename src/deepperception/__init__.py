"""DeepPerception: from labelled photos to a served model that finds a named entity among its look-alikes."""
