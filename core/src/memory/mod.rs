//! Guest memory: compressing and decompressing it, in standard formats. Knows nothing of the store.
