//! harness counts what it tried, proves with deliberate defects that it would notice one, and writes a report
//! (`hypeman_tests::report`). Without `HYPEMAN_LONG` each tries as much as half a minute allows.

mod damage;
mod disks;
mod faults;
mod scene;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

type Story = (&'static str, fn() -> Result<(), String>);

const STORIES: &[Story] = &[
    ("every_flipped_bit_and_every_cut_of_a_small_store_is_found", damage::small_store),
    ("random_flips_in_a_larger_store_are_found", damage::larger_store),
    ("one_damaged_record_never_hides_the_others", damage::many_records),
    ("every_call_of_every_operation_may_fail", faults::every_call),
    ("a_small_tmpfs_without_space_or_inodes_loses_nothing", disks::tmpfs),
    ("a_full_disk_loses_nothing", disks::full_ext4),
];

fn main() -> ExitCode {
    if faults::plays_a_part() {
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    // Each harness has the machine for itself.
    arguments.test_threads = Some(1);
    let trials = STORIES.iter().map(|&(name, story)| Trial::test(name, move || story().map_err(Failed::from)));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
