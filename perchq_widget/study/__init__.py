"""What we conclude about a tensor: plain frozen data built from core and sources."""
