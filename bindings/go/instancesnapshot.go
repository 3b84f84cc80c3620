package hypeman

// #include <hypeman.h>
import "C"

import (
	"context"
	"unsafe"

	"hypeman/packages/param"
)

// InstanceSnapshotService makes snapshots of instances, and puts them back.
type InstanceSnapshotService struct {
	handle *handle
}

// InstanceSnapshotNewParams is what to capture, and how to call it. Kind is required.
type InstanceSnapshotNewParams struct {
	Kind SnapshotKind
	// Name is 1 to 63 of [a-z0-9-], no dash at either end, unique per source instance.
	Name param.Opt[string]
	// Tags are at most 50, with keys of 1 to 128 and values of 0 to 256 characters, of [A-Za-z0-9 _.:/=+@-].
	Tags map[string]string
	// Compression of guest memory; not given: as instance and library say.
	Compression SnapshotCompressionConfigParam
}

// New captures a snapshot of an instance, found by exact id, then exact name, then unique id prefix. A running VM is paused
// and resumed, whatever happens. The snapshot is on the disk when this returns; compression goes on in the background,
// see [SnapshotService.Wait].
func (s InstanceSnapshotService) New(
	ctx context.Context, id string, params InstanceSnapshotNewParams, opts ...CallOption,
) (*Snapshot, error) {
	return snapshot(func(out **C.hypeman_snapshot) error {
		return run(ctx, s.handle, func(c *call) C.hypeman_status {
			options := (*C.hypeman_create_options)(c.room(C.sizeof_hypeman_create_options))
			options.struct_size = C.sizeof_hypeman_create_options
			options.kind_name = c.text("kind", string(params.Kind))
			if params.Name.Valid() {
				options.name = c.text("name", params.Name.Value)
			}
			options.tags, options.tag_count = c.tags(params.Tags)
			options.compression = c.compression(params.Compression)
			options.call = c.limits(opts)
			return C.hypeman_snapshot_create(s.handle.raw, c.text("id", id), options, out, &c.err)
		})
	})
}

// InstanceSnapshotRestoreParams is how to restore a snapshot. ID is required.
type InstanceSnapshotRestoreParams struct {
	// ID is the instance that the snapshot was taken of: its id, name, or unique prefix of its id.
	ID string
	// TargetState is what the instance is to be then.
	TargetState InstanceSnapshotRestoreParamsTargetState
	// APISocket is the absolute path of the API socket of a VMM that was started for this and has no VM yet.
	APISocket string
	// NetworkOverrides gives network interfaces, by their ids, other devices of the host (cloud-hypervisor,
	// firecracker).
	NetworkOverrides map[string]string
	// OnDemand has the guest run while the VMM still reads its memory (cloud-hypervisor 52 and later).
	OnDemand bool
	// UffdSocket is the absolute path of the socket of a userfaultfd server that gives the VMM its memory (firecracker).
	UffdSocket string
	// AllowIncompatible restores although the VMM or the host differs from what was recorded.
	AllowIncompatible bool
	// Duplicates says whether memory that was handed out before may be so again.
	Duplicates Duplicates
}

// Duplicates says whether memory that a restore or fork handed out before may be handed out again.
type Duplicates string

const (
	// DuplicatesAllow is the default.
	DuplicatesAllow Duplicates = "allow"
	DuplicatesDeny  Duplicates = "deny"
)

// InstanceSnapshotRestoreParamsTargetState is what an instance is to be after a restore.
type InstanceSnapshotRestoreParamsTargetState string

const (
	InstanceSnapshotRestoreParamsTargetStateStopped InstanceSnapshotRestoreParamsTargetState = "Stopped"
	InstanceSnapshotRestoreParamsTargetStateStandby InstanceSnapshotRestoreParamsTargetState = "Standby"
	InstanceSnapshotRestoreParamsTargetStateRunning InstanceSnapshotRestoreParamsTargetState = "Running"
)

// Restore puts the files of a snapshot into place, all or none, or loads it into a VMM that waits for it.
func (s InstanceSnapshotService) Restore(
	ctx context.Context, snapshotID string, params InstanceSnapshotRestoreParams, opts ...CallOption,
) (*Instance, error) {
	return instance(func(out **C.hypeman_instance) error {
		return run(ctx, s.handle, func(c *call) C.hypeman_status {
			options := c.restoreOptions(params, opts)
			id, instance := c.text("snapshot_id", snapshotID), c.text("id", params.ID)
			return C.hypeman_snapshot_restore(s.handle.raw, id, instance, options, out, &c.err)
		})
	})
}

func (c *call) restoreOptions(params InstanceSnapshotRestoreParams, opts []CallOption) *C.hypeman_restore_options {
	options := (*C.hypeman_restore_options)(c.room(C.sizeof_hypeman_restore_options))
	options.struct_size = C.sizeof_hypeman_restore_options
	options.target_state = c.optional("target_state", string(params.TargetState))
	options.api_socket = c.optional("api_socket", params.APISocket)
	options.network_overrides, options.network_override_count = c.networkOverrides(params.NetworkOverrides)
	options.on_demand = flag(params.OnDemand)
	options.allow_incompatible = flag(params.AllowIncompatible)
	options.uffd_socket = c.optional("uffd_socket", params.UffdSocket)
	options.duplicates = c.optional("duplicates", string(params.Duplicates))
	options.call = c.limits(opts)
	return options
}

func (c *call) networkOverrides(given map[string]string) (*C.hypeman_network_override, C.size_t) {
	if len(given) == 0 {
		return nil, 0
	}
	made := (*C.hypeman_network_override)(c.room(C.size_t(len(given)) * C.sizeof_hypeman_network_override))
	overrides := unsafe.Slice(made, len(given))[:0]
	for id, device := range given {
		overrides = append(overrides, C.hypeman_network_override{
			interface_id: c.text("interface_id", id), host_device: c.text("host_device", device),
		})
	}
	return made, C.size_t(len(given))
}
