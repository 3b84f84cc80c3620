//! hypeman-node
