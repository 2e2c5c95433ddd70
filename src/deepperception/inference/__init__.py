"""Models behind one protocol: requests of a picture and a text in, texts out."""
