"""Models for devices: signed as a TUF repository, served over gRPC, or by any web server."""
