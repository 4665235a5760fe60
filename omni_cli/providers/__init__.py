"""Wire protocols: pure modules, one each, and the one module that does their I/O."""
