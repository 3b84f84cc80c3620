//! A configuration for another place: paths that lie elsewhere now, and network interfaces with another device.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// Rewrites each path in `config` that is the first of a pair in `moved`, or lies beneath it; the longest one counts.
pub(super) fn paths(config: &mut Value, moved: &[(PathBuf, PathBuf)]) -> Result<()> {
    match config {
        Value::String(text) if text.starts_with('/') => {
            if let Some(path) = relocated(Path::new(text), moved) {
                *text = path.to_str().map(str::to_owned).ok_or_else(|| {
                    let message = format!("{} is no UTF-8 text, as paths of a VM are", path.display());
                    Error::new(Kind::InvalidRequest, message).at(&path)
                })?;
            }
            Ok(())
        }
        Value::Array(values) => values.iter_mut().try_for_each(|value| paths(value, moved)),
        Value::Object(values) => values.values_mut().try_for_each(|value| paths(value, moved)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Gives each interface that `overrides` names another tap device.
pub(super) fn networks(config: &mut Value, overrides: &[(String, String)]) -> Result<()> {
    let mut interfaces = config.get_mut("net").and_then(Value::as_array_mut);
    for (id, device) in overrides {
        let mut known = interfaces.iter_mut().flat_map(|all| all.iter_mut()).filter_map(Value::as_object_mut);
        let Some(interface) = known.find(|interface| interface.get("id").is_some_and(|known| known == id))
        else {
            let message =
                format!("the VM has no network interface {id:?}; look for `net` in its config.json");
            return Err(Error::new(Kind::InvalidRequest, message));
        };
        interface.insert("tap".to_owned(), device.as_str().into());
    }
    Ok(())
}

fn relocated(path: &Path, moved: &[(PathBuf, PathBuf)]) -> Option<PathBuf> {
    let (to, rest) = moved
        .iter()
        .filter_map(|(from, to)| Some((to, path.strip_prefix(from).ok()?)))
        .min_by_key(|(_, rest)| rest.components().count())?;
    // Joining an empty rest would add a slash.
    Some(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn moved(pairs: &[(&str, &str)]) -> Vec<(PathBuf, PathBuf)> {
        pairs.iter().map(|(from, to)| (from.into(), to.into())).collect()
    }

    #[test]
    fn a_path_moves_whole_or_by_its_leading_directories_and_nothing_else_does() {
        let mut config = json!({
            "disks": [{ "path": "/vms/a/disk.raw" }, { "path": "/vms/ab/disk.raw" }, { "path": "/images/x" }],
            "serial": { "file": "/vms/a" },
            "payload": { "cmdline": "root=/vms/a", "kernel": "/vms/a/kernel" },
            "vsock": { "socket": "/vms/a/deep/vsock" },
        });
        let moved = moved(&[("/vms/a", "/new/b"), ("/vms/a/deep", "/run/c"), ("/images/x", "/images/y")]);
        paths(&mut config, &moved).unwrap();
        assert_eq!(
            config,
            json!({
                "disks": [{ "path": "/new/b/disk.raw" }, { "path": "/vms/ab/disk.raw" }, { "path": "/images/y" }],
                "serial": { "file": "/new/b" },
                "payload": { "cmdline": "root=/vms/a", "kernel": "/new/b/kernel" },
                "vsock": { "socket": "/run/c/vsock" },
            })
        );
    }

    #[test]
    fn an_interface_gets_another_device_by_its_id() {
        let mut config = json!({ "net": [{ "id": "_net0", "tap": "tap0", "mac": "m" }, { "id": "_net1" }] });
        networks(&mut config, &[("_net1".to_owned(), "tap7".to_owned())]).unwrap();
        assert_eq!(config["net"][0]["tap"], "tap0");
        assert_eq!(config["net"][1]["tap"], "tap7");
        let error = networks(&mut config, &[("eth0".to_owned(), "tap7".to_owned())]).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidRequest);
    }
}
