//! Paths that a host names.

use std::path::Path;

use crate::error::{Error, Kind, Result};

/// Checks a path of a host's: absolute, since working directories change, and one that a file system can have.
pub(crate) fn check_path(what: &str, path: &Path) -> Result<()> {
    let refuse = |rule: &str| {
        let why = format!("{what} must be {rule}, got {:?}", path.display());
        Err(Error::new(Kind::InvalidRequest, why).at(path))
    };
    if !path.is_absolute() {
        return refuse("an absolute path");
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return refuse("a path without a NUL");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_has_no_nul() {
        check_path("directory", Path::new("/vms/nginx1")).unwrap();
        for bad in ["", "vms", "./vms", "/vms\0", "\0"] {
            assert_eq!(
                check_path("directory", Path::new(bad)).unwrap_err().kind(),
                Kind::InvalidRequest,
                "{bad:?}"
            );
        }
    }
}
