//! A watch on a directory. This system tells that one changes, but not by which names, so that there is none.

use std::ffi::OsString;

use crate::sys::dir::Dir;

/// Does not exist.
#[derive(Debug)]
pub(crate) enum Watch {}

impl Watch {
    /// None.
    pub(crate) fn on(_dir: &Dir) -> Option<Self> {
        None
    }

    pub(crate) fn news(&self) -> Option<Vec<OsString>> {
        match *self {}
    }
}
