//! What a store must bear: damage, disks and kernels that fail, what an enemy wrote, and many processes at once. Each
//! harness counts what it tried, proves with deliberate defects that it would notice one, and writes a report
//! (`hypeman_tests::report`). Without `HYPEMAN_LONG` each tries what half a minute allows.

mod calls;
mod corpus;
mod damage;
mod disks;
mod faults;
mod fork;
mod guarantees;
mod processes;
mod reflinks;
mod replay;
mod scene;
mod umask;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

type Story = (&'static str, fn() -> Result<(), String>);

/// These share the machine: none of them looks at a clock but to end.
const TOGETHER: &[Story] = &[
    ("every_call_of_every_operation_may_fail", faults::every_call),
    ("every_flipped_bit_and_every_cut_of_a_small_store_is_found", damage::small_store),
    ("a_full_disk_loses_nothing", disks::full_ext4),
    ("ten_forks_share_their_blocks_where_the_file_system_reflinks", reflinks::of_raw_memory),
    (
        "forks_of_compressed_memory_expand_it_each_for_itself_unless_a_pager_serves_them",
        reflinks::of_compressed_memory,
    ),
    ("random_flips_in_a_larger_store_are_found", damage::larger_store),
    ("one_damaged_record_never_hides_the_others", damage::many_records),
    ("a_small_tmpfs_without_space_or_inodes_loses_nothing", disks::tmpfs),
    ("calls_of_the_c_abi_in_any_order_break_no_promise", calls::any_order),
    ("a_hostile_store_is_borne_by_every_language", corpus::every_language),
    ("what_is_made_is_its_owners_alone_whatever_the_umask", umask::every_mode),
    ("every_saved_input_of_the_fuzz_targets_is_borne", replay::every_input),
    ("every_promise_names_a_test_that_exists", guarantees::every_line),
];

/// Each of these has the machine for itself.
const ALONE: &[Story] = &[
    ("eight_processes_at_random_operations_and_kills", processes::eight),
    ("a_dead_owners_job_is_picked_up_at_once_whatever_the_clock_says", processes::dead_owner),
    ("a_forked_child_never_hangs_and_never_takes_the_parents_locks", fork::every_way),
];

fn main() -> ExitCode {
    if faults::plays_a_part() || processes::plays_a_part() || corpus::plays_a_part() || umask::plays_a_part()
    {
        return ExitCode::SUCCESS;
    }
    let mut arguments = Arguments::from_args();
    let mut run = |stories: &[Story], threads| {
        arguments.test_threads = Some(threads);
        let trials =
            stories.iter().map(|&(name, story)| Trial::test(name, move || story().map_err(Failed::from)));
        libtest_mimic::run(&arguments, trials.collect())
    };
    let (together, alone) = (run(TOGETHER, 2), run(ALONE, 1));
    if together.has_failed() || alone.has_failed() { ExitCode::from(101) } else { ExitCode::SUCCESS }
}
