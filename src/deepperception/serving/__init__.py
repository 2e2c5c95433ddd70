"""The KServe model server, and a prediction from a folder or from a server."""
