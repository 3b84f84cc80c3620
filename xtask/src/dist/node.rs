//! Two tarballs: the package, in JavaScript alone, and the native addon for this platform, which npm chooses by the
//! package's optional dependencies. `pack.js` makes them, and its tests install them.

use std::path::Path;

use crate::program::{Run, program};
use crate::release::Build;
use crate::{Result, setup};

/// Builds the addon and packs both into `directory`.
pub fn package(build: &Build, directory: &Path) -> Result<()> {
    setup::build_node_addon(build)?;
    program("node").arg("bindings/node/pack.js").arg(directory).run()
}
