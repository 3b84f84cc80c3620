//! hypeman-python
