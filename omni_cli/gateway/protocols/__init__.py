"""The server's side of each wire protocol: read a caller's request, write it an answer."""
