"""One module per runtime (or family of them): its range rules and its record."""
