//! Whether a snapshot fits the VMM and the host that are to load it: what was recorded at its capture is compared with
//! what is here, and each mismatch is named. Asked before anything is changed.

use crate::error::{Error, Kind, Result};
use crate::hypervisor;
use crate::store::Store;
use crate::store::sidecar::Sidecar;
use crate::sys::host::host;
use crate::types::{Capture, Host, HypervisorKind, Snapshot};

/// Flags that a kernel makes up, or that only its own hypervisor uses: a guest never sees them, and they come and go
/// with kernels and their options.
const FLAGS_OF_THE_KERNEL: [&str; 46] = [
    "acc_power",
    "amd_dcm",
    "aperfmperf",
    "arch_perfmon",
    "art",
    "bts",
    "bus_lock_detect",
    "cat_l2",
    "cat_l3",
    "cdp_l2",
    "cdp_l3",
    "constant_tsc",
    "cpb",
    "cpuid",
    "cpuid_fault",
    "cqm_mbm_local",
    "cqm_mbm_total",
    "dtherm",
    "epb",
    "ept",
    "ept_ad",
    "extd_apicid",
    "flexpriority",
    "hw_pstate",
    "hypervisor",
    "ibrs_enhanced",
    "ida",
    "mba",
    "nonstop_tsc",
    "nonstop_tsc_s3",
    "nopl",
    "pebs",
    "proc_feedback",
    "pti",
    "rapl",
    "rep_good",
    "ring3mwait",
    "split_lock_detect",
    "tpr_shadow",
    "tsc_known_freq",
    "tsc_reliable",
    "up",
    "vmmcall",
    "vnmi",
    "vpid",
    "xtopology",
];

/// What is to load a snapshot.
pub(in crate::snapshots) struct Here<'h> {
    pub(in crate::snapshots) hypervisor: &'h HypervisorKind,
    /// What the VMM gives of itself; `None` where there is none yet.
    pub(in crate::snapshots) version: Option<&'h str>,
}

/// Refuses a snapshot that does not fit.
///
/// # Errors
/// `incompatible`, with every mismatch that was found.
pub(in crate::snapshots) fn check(store: &Store, snapshot: &Snapshot, here: &Here<'_>) -> Result<()> {
    let sidecar = Sidecar::read(&store.snapshot_dir(&snapshot.id)?)?;
    let state_format = hypervisor::state_format(&snapshot.source_hypervisor, &store.guest(&snapshot.id)?);
    let capture = sidecar.map(|sidecar| sidecar.capture);
    let found =
        mismatches(&snapshot.source_hypervisor, capture.as_ref(), here, state_format.as_deref(), &host());
    if !found.iter().any(|mismatch| mismatch.refuses) {
        return Ok(());
    }
    let named: Vec<_> = found.into_iter().map(|mismatch| mismatch.text).collect();
    let why = format!(
        "snapshot {} does not fit: {}; load it where it fits, or set allow_incompatible",
        snapshot.id,
        named.join("; ")
    );
    Err(Error::new(Kind::Incompatible, why).about(&snapshot.id))
}

/// What differs, in words.
#[derive(Debug, PartialEq, Eq)]
struct Mismatch {
    text: String,
    /// Whether it alone is reason enough.
    refuses: bool,
}

fn mismatches(
    source: &HypervisorKind,
    capture: Option<&Capture>,
    here: &Here<'_>,
    state_format: Option<&str>,
    now: &Host,
) -> Vec<Mismatch> {
    let mut found = Vec::new();
    // What one of the two does not know is no mismatch.
    let mut compare = |what: &str, then: &str, now: &str, refuses: bool| {
        if !then.is_empty() && !now.is_empty() && then != now {
            found.push(Mismatch { text: format!("{what}: captured with {then:?}, here {now:?}"), refuses });
        }
    };
    compare("hypervisor", source.as_str(), here.hypervisor.as_str(), true);
    let Some(capture) = capture else { return found };
    let then = &capture.host;
    let version = capture.hypervisor_version.as_deref().unwrap_or_default();
    compare("hypervisor version", version, here.version.unwrap_or_default(), true);
    let format = capture.state_format.as_deref().unwrap_or_default();
    compare("snapshot format", format, state_format.unwrap_or_default(), true);
    compare("architecture", &then.architecture, &now.architecture, true);
    compare("CPU vendor", &then.cpu_vendor, &now.cpu_vendor, true);
    // Without its flags, a CPU is known by its name only.
    compare("CPU", &then.cpu_model, &now.cpu_model, then.cpu_flags.is_empty());
    compare("kernel", series(&then.kernel), series(&now.kernel), minds_the_kernel(source));
    let missing = missing_flags(&then.cpu_flags, &now.cpu_flags);
    if !missing.is_empty() {
        let text = format!("CPU flags: the guest may use {}, which this CPU lacks", missing.join(" "));
        found.push(Mismatch { text, refuses: true });
    }
    found
}

/// KVM's own records lie in their state as they are, and their makers load them only on kernels that they have tried;
/// QEMU's form is made to outlive a kernel, and vz has none.
fn minds_the_kernel(hypervisor: &HypervisorKind) -> bool {
    matches!(hypervisor, HypervisorKind::Firecracker | HypervisorKind::CloudHypervisor)
}

/// The first two numbers of a release: updates within a series change nothing that a guest sees.
fn series(release: &str) -> &str {
    let end = release.match_indices(|c: char| !c.is_ascii_digit()).nth(1).map(|(at, _)| at);
    end.and_then(|end| release.get(..end)).unwrap_or(release)
}

fn missing_flags<'f>(then: &'f str, now: &str) -> Vec<&'f str> {
    let has = |flag: &str| now.split_ascii_whitespace().any(|other| other == flag);
    // A host that does not tell its flags, tells of none that it lacks.
    if now.is_empty() {
        return Vec::new();
    }
    then.split_ascii_whitespace().filter(|flag| !has(flag) && !FLAGS_OF_THE_KERNEL.contains(flag)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::InstanceState;

    fn home() -> Host {
        Host {
            kernel: "6.1.0-18-amd64".to_owned(),
            architecture: "x86_64".to_owned(),
            cpu_model: "Xeon 1".to_owned(),
            cpu_vendor: "GenuineIntel".to_owned(),
            cpu_flags: "fpu sse2 avx2 pti".to_owned(),
        }
    }

    fn captured(host: Host) -> Capture {
        Capture {
            hypervisor_version: Some("1.17.0".to_owned()),
            state_format: Some("11.0.0".to_owned()),
            ..Capture::of(InstanceState::Running, host)
        }
    }

    /// The mismatches, and whether they refuse, of a snapshot of `home` with firecracker.
    fn compared(here: &Here<'_>, format: Option<&str>, now: &Host) -> (Vec<String>, bool) {
        let found = mismatches(&HypervisorKind::Firecracker, Some(&captured(home())), here, format, now);
        let refuses = found.iter().any(|mismatch| mismatch.refuses);
        (found.into_iter().map(|mismatch| mismatch.text).collect(), refuses)
    }

    const SAME: Here<'_> = Here { hypervisor: &HypervisorKind::Firecracker, version: Some("1.17.0") };

    #[test]
    fn each_mismatch_is_found_and_named_and_nothing_else_is() {
        let named = |here: &Here<'_>, format, now: Host, words: &str, refuses: bool| {
            let (found, refused) = compared(here, Some(format), &now);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(words), "{found:?} does not say {words:?}");
            assert_eq!(refused, refuses, "{found:?}");
        };
        assert_eq!(compared(&SAME, Some("11.0.0"), &home()), (vec![], false));
        let other = Here { hypervisor: &HypervisorKind::Qemu, ..SAME };
        named(&other, "11.0.0", home(), "hypervisor: captured with \"firecracker\", here \"qemu\"", true);
        let older = Here { version: Some("1.14.2"), ..SAME };
        named(&older, "11.0.0", home(), "version: captured with \"1.17.0\", here \"1.14.2\"", true);
        named(&SAME, "10.0.0", home(), "format: captured with \"11.0.0\", here \"10.0.0\"", true);
        let host = |change: fn(&mut Host)| {
            let mut host = home();
            change(&mut host);
            host
        };
        let arm = host(|host| host.architecture = "aarch64".to_owned());
        named(&SAME, "11.0.0", arm, "architecture: captured with \"x86_64\"", true);
        let amd = host(|host| host.cpu_vendor = "AuthenticAMD".to_owned());
        named(&SAME, "11.0.0", amd, "here \"AuthenticAMD\"", true);
        let poorer = host(|host| host.cpu_flags = "fpu sse2 pti".to_owned());
        named(&SAME, "11.0.0", poorer, "may use avx2, which this CPU lacks", true);
        let kernel = host(|host| host.kernel = "6.12.9".to_owned());
        named(&SAME, "11.0.0", kernel, "kernel: captured with \"6.1\", here \"6.12\"", true);
        let model = host(|host| host.cpu_model = "Xeon 2".to_owned());
        named(&SAME, "11.0.0", model, "here \"Xeon 2\"", false);
    }

    #[test]
    fn what_differs_and_does_no_harm_refuses_nothing() {
        let mut richer = home();
        richer.cpu_flags = "fpu sse2 avx2 avx512f".to_owned();
        richer.kernel = "6.1.99-cloud".to_owned();
        assert_eq!(compared(&SAME, Some("11.0.0"), &richer), (vec![], false));
        // No VMM yet, a file that tells no format, a host that tells nothing.
        let waiting = Here { version: None, ..SAME };
        assert_eq!(compared(&waiting, None, &Host::default()), (vec![], false));
        assert_eq!(mismatches(SAME.hypervisor, None, &SAME, None, &home()), []);
        let mut newer = home();
        newer.kernel = "6.12.9".to_owned();
        let qemu = Here { hypervisor: &HypervisorKind::Qemu, ..SAME };
        let found = mismatches(qemu.hypervisor, Some(&captured(home())), &qemu, Some("11.0.0"), &newer);
        assert!(found.len() == 1 && !found[0].refuses, "{found:?}");
        // Captured before flags were noted: the model is all there is.
        let mut old = home();
        old.cpu_flags = String::new();
        let mut other = home();
        other.cpu_model = "Xeon 2".to_owned();
        let found = mismatches(SAME.hypervisor, Some(&captured(old)), &SAME, None, &other);
        assert!(found.len() == 1 && found[0].refuses, "{found:?}");
    }

    #[test]
    fn all_mismatches_are_named_at_once() {
        let here = Here { hypervisor: &HypervisorKind::Qemu, version: Some("7.2.22") };
        let strange = Host {
            kernel: "5.10.1".to_owned(),
            architecture: "aarch64".to_owned(),
            cpu_model: "0xd0c".to_owned(),
            cpu_vendor: "0x41".to_owned(),
            cpu_flags: "fp asimd".to_owned(),
        };
        assert_eq!(compared(&here, Some("9.0.0"), &strange).0.len(), 8);
    }

    #[test]
    fn a_series_is_the_first_two_numbers_of_a_release() {
        for (release, expected) in
            [("6.1.0-18-amd64", "6.1"), ("5.10", "5.10"), ("6.12-rc1", "6.12"), ("23.5.0", "23.5"), ("", "")]
        {
            assert_eq!(series(release), expected);
        }
    }
}
