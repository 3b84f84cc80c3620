//! hypeman-tests
