"""Where numbers come from: pasted lines, arrays, files. Frameworks are never imported, only recognised."""
