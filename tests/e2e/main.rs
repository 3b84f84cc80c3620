//! Real VMs: our guest under a real QEMU, cloud-hypervisor or Firecracker, captured through the Rust API while it runs.
//!
//! `$HYPEMAN_TEST_QEMU`, `$HYPEMAN_TEST_CLOUD_HYPERVISOR` and `$HYPEMAN_TEST_FIRECRACKER` name the VMMs to test with.
//! Where there is none its stories are skipped by name, unless `$HYPEMAN_REQUIRE` contains it; those that need a disk of
//! their own are skipped without root.

mod capture;
mod cloud_hypervisor;
mod crash;
mod diff;
mod firecracker;
mod fork;
mod full;
mod harness;
mod host;
mod jail;
mod mapped_ram;
mod offload;
mod orphan;
mod paged;
mod refuse;
mod restore;
mod scene;
mod ten;

use std::io::Write;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// What a story needs beside the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Qemu,
    QemuAndRoot,
    QemuWithMappedRam,
    CloudHypervisor,
    CloudHypervisorAndRoot,
    Firecracker,
    FirecrackerAndRoot,
    Nothing,
}

impl Needs {
    /// The VMM of the story: the stories of one are run by `cargo test --test e2e qemu::`.
    fn vmm(self) -> &'static str {
        match self {
            Self::Qemu | Self::QemuAndRoot | Self::QemuWithMappedRam => "qemu",
            Self::CloudHypervisor | Self::CloudHypervisorAndRoot => "cloud_hypervisor",
            Self::Firecracker | Self::FirecrackerAndRoot => "firecracker",
            Self::Nothing => "none",
        }
    }
}

type Story = (&'static str, Needs, fn());

macro_rules! stories {
    ($($needs:ident: $file:ident::$name:ident,)*) => { [$((stringify!($name), Needs::$needs, $file::$name)),*] };
}

const STORIES: &[Story] = &stories![
    Qemu: harness::qemu_alone_saves_and_loads_the_guest,
    Qemu: capture::a_running_vm_is_captured_and_runs_on,
    Qemu: capture::a_snapshot_counts_on_in_a_second_vm,
    Qemu: capture::a_zstd_snapshot_counts_on_in_a_second_vm,
    Qemu: capture::an_lz4_snapshot_counts_on_in_a_second_vm,
    Qemu: capture::a_microvm_snapshot_counts_on_in_a_second_microvm,
    Qemu: capture::one_flipped_bit_is_noticed,
    Qemu: capture::a_paused_vm_stays_paused,
    Qemu: capture::two_creates_at_once_take_turns,
    QemuWithMappedRam: mapped_ram::memory_of_a_mapped_ram_snapshot_is_read_by_guest_physical_address,
    Qemu: restore::a_snapshot_is_restored_in_two_steps,
    Qemu: restore::an_image_is_not_loaded_over_other_disks,
    Qemu: restore::a_live_guest_is_not_restored_over,
    Qemu: host::a_host_in_c_brings_its_vm_back_from_the_newest_checkpoint,
    Qemu: fork::qemu_forks_run_beside_their_source,
    CloudHypervisor: fork::cloud_hypervisor_forks_run_beside_their_source,
    CloudHypervisor: fork::a_cloud_hypervisor_fork_gets_compressed_memory_by_descriptor_and_never_raw,
    Firecracker: fork::a_firecracker_fork_must_find_its_files_where_its_sources_were,
    Qemu: refuse::a_cancelled_capture_lets_the_vm_run,
    Qemu: refuse::a_monitor_with_another_client_is_busy,
    Qemu: refuse::a_frozen_qemu_gives_a_typed_error,
    Qemu: refuse::a_qemu_that_freezes_in_the_pause_keeps_no_one_waiting,
    Qemu: refuse::a_vm_whose_qemu_died_is_stopped,
    Qemu: refuse::a_disk_that_a_snapshot_would_miss_is_refused_before_the_pause,
    Qemu: crash::a_host_killed_in_the_pause_is_made_good,
    Qemu: crash::a_host_that_cancels_and_ends_leaves_a_vm_that_runs,
    Qemu: crash::a_host_killed_in_the_capture_of_a_paused_vm_leaves_it_paused,
    Nothing: crash::a_killed_compression_is_finished,
    QemuAndRoot: full::a_full_disk_ends_a_capture_only,
    CloudHypervisor: cloud_hypervisor::a_cloud_hypervisor_snapshot_counts_on_in_a_second_one,
    CloudHypervisor: cloud_hypervisor::a_cloud_hypervisor_snapshot_is_restored_by_one_call,
    CloudHypervisor: cloud_hypervisor::a_live_cloud_hypervisor_is_not_restored_over,
    CloudHypervisor: cloud_hypervisor::a_paused_cloud_hypervisor_stays_paused_and_is_captured_again,
    CloudHypervisor: cloud_hypervisor::a_cancelled_cloud_hypervisor_capture_lets_the_vm_run,
    CloudHypervisor: cloud_hypervisor::a_cloud_hypervisor_that_is_frozen_or_dead_gives_a_typed_error,
    CloudHypervisor: offload::memory_is_captured_and_restored_by_descriptor_and_never_written_raw,
    CloudHypervisor: offload::a_cloud_hypervisor_asks_a_pager_for_its_memory,
    CloudHypervisor: ten::ten_forks_of_a_cloud_hypervisor_run_at_once_from_one_pager,
    CloudHypervisor: offload::a_cloud_hypervisor_ends_when_its_guest_needs_a_damaged_page,
    CloudHypervisor: offload::a_cloud_hypervisor_without_shared_memory_takes_it_from_no_pager,
    CloudHypervisor: offload::a_cloud_hypervisor_that_would_die_of_a_migration_is_captured_through_a_file,
    CloudHypervisor: offload::a_cancelled_offload_lets_the_vm_run_and_can_be_repeated,
    CloudHypervisorAndRoot: jail::a_jailed_cloud_hypervisor_of_another_user_passes_files_through_a_staging_directory,
    CloudHypervisorAndRoot: jail::a_host_that_could_not_read_what_cloud_hypervisor_writes_is_refused_before_the_pause,
    FirecrackerAndRoot: jail::a_host_that_is_not_root_passes_files_to_a_firecracker_of_another_user,
    Firecracker: firecracker::a_firecracker_snapshot_counts_on_in_a_second_one,
    Firecracker: firecracker::a_firecracker_snapshot_is_restored_by_one_call,
    Firecracker: firecracker::a_live_firecracker_is_not_restored_over,
    Firecracker: diff::a_firecracker_diff_is_what_a_full_snapshot_would_be,
    FirecrackerAndRoot: jail::a_jailed_firecracker_of_another_user_passes_files_through_a_staging_directory,
    Firecracker: firecracker::a_paused_firecracker_stays_paused_and_is_captured_again,
    Firecracker: firecracker::a_cancelled_firecracker_capture_lets_the_vm_run,
    Firecracker: firecracker::a_firecracker_that_is_frozen_or_dead_gives_a_typed_error,
    Firecracker: firecracker::a_host_killed_while_firecracker_writes_is_made_good,
    FirecrackerAndRoot: paged::a_firecracker_runs_on_while_a_pager_gives_it_its_memory,
    FirecrackerAndRoot: paged::a_firecracker_with_all_of_its_memory_outlives_its_pager,
    FirecrackerAndRoot: ten::ten_forks_of_a_firecracker_run_at_once_beside_their_source_from_one_pager,
    FirecrackerAndRoot: paged::a_firecracker_ends_when_its_guest_touches_a_damaged_page,
    FirecrackerAndRoot: orphan::a_firecracker_whose_host_is_killed_ends_when_its_guest_touches_what_it_has_not_got,
    FirecrackerAndRoot: firecracker::a_disk_too_small_for_the_memory_is_refused_before_firecracker_pauses,
];

fn main() -> ExitCode {
    if crash::play_role() || jail::play_role() || orphan::play_role() {
        return ExitCode::SUCCESS;
    }
    let trials = STORIES.iter().copied().map(|(name, needs, story)| {
        let name = format!("{}::{name}", needs.vmm());
        match missing(needs) {
            None => Trial::test(name, move || {
                story();
                Ok(())
            }),
            Some((what, reason)) if required(what) => Trial::test(name, move || Err(Failed::from(reason))),
            Some((_, reason)) => {
                writeln!(std::io::stderr(), "SKIP {name}: {reason}").expect("stderr takes a line");
                Trial::test(name, || Ok(())).with_ignored_flag(true)
            }
        }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn missing(needs: Needs) -> Option<(&'static str, &'static str)> {
    let (qemu, firecracker, cloud_hypervisor) =
        (needs.vmm() == "qemu", needs.vmm() == "firecracker", needs.vmm() == "cloud_hypervisor");
    let root =
        matches!(needs, Needs::QemuAndRoot | Needs::FirecrackerAndRoot | Needs::CloudHypervisorAndRoot);
    if firecracker && hypeman_tests::firecracker::program().is_none() {
        return Some(("firecracker", "no firecracker (set HYPEMAN_TEST_FIRECRACKER), or no usable /dev/kvm"));
    }
    if cloud_hypervisor && hypeman_tests::cloud_hypervisor::program().is_none() {
        return Some((
            "cloud-hypervisor",
            "no cloud-hypervisor (set HYPEMAN_TEST_CLOUD_HYPERVISOR), or no usable /dev/kvm",
        ));
    }
    if qemu && hypeman_tests::vm::qemu().is_none() {
        return Some(("qemu", "no qemu-system-x86_64; install qemu-system-x86 or set HYPEMAN_TEST_QEMU"));
    }
    if needs == Needs::QemuWithMappedRam && !hypeman_tests::vm::writes_mapped_ram() {
        return Some(("qemu-mapped-ram", "QEMU is older than 9.0; name a newer one by HYPEMAN_TEST_QEMU"));
    }
    if root && !scene::can_mount() {
        return Some(("root", "a small tmpfs cannot be mounted; run as root"));
    }
    None
}

fn required(what: &str) -> bool {
    std::env::var("HYPEMAN_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name.trim() == what))
}
