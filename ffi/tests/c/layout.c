/* No public struct has padding: a byte that no field owns could hold anything, and would be taken for an option
   of a newer version. */
#include <hypeman.h>

#define SIZE(type, field) sizeof(((type *)0)->field)
#define FILLED(type, fields) extern char type##_has_padding[sizeof(type) == (fields) ? 1 : -1]

FILLED(hypeman_compression,
       SIZE(hypeman_compression, struct_size) + SIZE(hypeman_compression, enabled)
           + SIZE(hypeman_compression, has_level) + SIZE(hypeman_compression, level)
           + SIZE(hypeman_compression, algorithm));
FILLED(hypeman_open_options,
       SIZE(hypeman_open_options, struct_size) + SIZE(hypeman_open_options, read_only)
           + SIZE(hypeman_open_options, allow_network_fs) + SIZE(hypeman_open_options, owns_server_instances)
           + SIZE(hypeman_open_options, threads) + SIZE(hypeman_open_options, compression)
           + SIZE(hypeman_open_options, durability) + SIZE(hypeman_open_options, log)
           + SIZE(hypeman_open_options, log_user)
           + SIZE(hypeman_open_options, offload_memory)
           + SIZE(hypeman_open_options, reserved));
FILLED(hypeman_register_options,
       SIZE(hypeman_register_options, struct_size) + SIZE(hypeman_register_options, name)
           + SIZE(hypeman_register_options, hypervisor) + SIZE(hypeman_register_options, id)
           + SIZE(hypeman_register_options, api_socket) + SIZE(hypeman_register_options, directory)
           + SIZE(hypeman_register_options, disks) + SIZE(hypeman_register_options, disk_count)
           + SIZE(hypeman_register_options, compression) + SIZE(hypeman_register_options, staging_directory)
           + SIZE(hypeman_register_options, staging_directory_in_vmm)
           + SIZE(hypeman_register_options, exclusive_snapshots) + SIZE(hypeman_register_options, reserved));
FILLED(hypeman_disk,
       SIZE(hypeman_disk, path) + SIZE(hypeman_disk, readonly) + SIZE(hypeman_disk, reserved));
FILLED(hypeman_tag, SIZE(hypeman_tag, key) + SIZE(hypeman_tag, value));
FILLED(hypeman_create_options,
       SIZE(hypeman_create_options, struct_size) + SIZE(hypeman_create_options, kind)
           + SIZE(hypeman_create_options, reserved) + SIZE(hypeman_create_options, kind_name)
           + SIZE(hypeman_create_options, name) + SIZE(hypeman_create_options, tags)
           + SIZE(hypeman_create_options, tag_count) + SIZE(hypeman_create_options, compression)
           + SIZE(hypeman_create_options, call));
FILLED(hypeman_list_options,
       SIZE(hypeman_list_options, struct_size) + SIZE(hypeman_list_options, kind)
           + SIZE(hypeman_list_options, reserved) + SIZE(hypeman_list_options, kind_name)
           + SIZE(hypeman_list_options, name) + SIZE(hypeman_list_options, source_instance_id)
           + SIZE(hypeman_list_options, tags) + SIZE(hypeman_list_options, tag_count));
FILLED(hypeman_network_override,
       SIZE(hypeman_network_override, interface_id) + SIZE(hypeman_network_override, host_device));
FILLED(hypeman_restore_options,
       SIZE(hypeman_restore_options, struct_size) + SIZE(hypeman_restore_options, target_state)
           + SIZE(hypeman_restore_options, api_socket) + SIZE(hypeman_restore_options, network_overrides)
           + SIZE(hypeman_restore_options, network_override_count) + SIZE(hypeman_restore_options, on_demand)
           + SIZE(hypeman_restore_options, allow_incompatible) + SIZE(hypeman_restore_options, uffd_socket)
           + SIZE(hypeman_restore_options, call) + SIZE(hypeman_restore_options, duplicates));
FILLED(hypeman_disk_place, SIZE(hypeman_disk_place, from) + SIZE(hypeman_disk_place, to));
FILLED(hypeman_fork_options,
       SIZE(hypeman_fork_options, struct_size) + SIZE(hypeman_fork_options, directory)
           + SIZE(hypeman_fork_options, disks) + SIZE(hypeman_fork_options, disk_count)
           + SIZE(hypeman_fork_options, restore));
FILLED(hypeman_serve_options,
       SIZE(hypeman_serve_options, struct_size) + SIZE(hypeman_serve_options, socket)
           + SIZE(hypeman_serve_options, cache_bytes) + SIZE(hypeman_serve_options, cpus)
           + SIZE(hypeman_serve_options, cpu_count) + SIZE(hypeman_serve_options, spin_us)
           + SIZE(hypeman_serve_options, no_prefetch) + SIZE(hypeman_serve_options, fill)
           + SIZE(hypeman_serve_options, reserved));
FILLED(hypeman_call_options,
       SIZE(hypeman_call_options, struct_size) + SIZE(hypeman_call_options, timeout_ms)
           + SIZE(hypeman_call_options, cancel) + SIZE(hypeman_call_options, progress)
           + SIZE(hypeman_call_options, user));
FILLED(hypeman_progress,
       SIZE(hypeman_progress, phase) + SIZE(hypeman_progress, reserved) + SIZE(hypeman_progress, bytes_done)
           + SIZE(hypeman_progress, bytes_total));
FILLED(hypeman_extent,
       SIZE(hypeman_extent, offset) + SIZE(hypeman_extent, size_bytes) + SIZE(hypeman_extent, kind)
           + SIZE(hypeman_extent, reserved));
FILLED(hypeman_range,
       SIZE(hypeman_range, guest_address) + SIZE(hypeman_range, offset) + SIZE(hypeman_range, size_bytes));

/* Fields that were in the first release stay where they were (64-bit). */
#define AT(type, field, offset) extern char type##_##field##_moved[offsetof(type, field) == (offset) ? 1 : -1]
#define ENDS(type, size) extern char type##_shrank[sizeof(type) >= (size) ? 1 : -1]
#if UINTPTR_MAX == UINT64_MAX
AT(hypeman_compression, algorithm, 24);
ENDS(hypeman_compression, 32);
AT(hypeman_open_options, durability, 32);
ENDS(hypeman_open_options, 40);
AT(hypeman_register_options, compression, 64);
ENDS(hypeman_register_options, 72);
AT(hypeman_create_options, call, 56);
ENDS(hypeman_create_options, 64);
AT(hypeman_list_options, tag_count, 48);
ENDS(hypeman_list_options, 56);
AT(hypeman_restore_options, call, 56);
ENDS(hypeman_restore_options, 64);
AT(hypeman_fork_options, restore, 32);
ENDS(hypeman_fork_options, 40);
AT(hypeman_serve_options, fill, 48);
ENDS(hypeman_serve_options, 56);
AT(hypeman_call_options, user, 32);
ENDS(hypeman_call_options, 40);
#endif

int main(void)
{
    return 0;
}
