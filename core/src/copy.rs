//! Copying files: reflink first, then their data extents; never dense.
