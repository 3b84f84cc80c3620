package hypeman

// #include <hypeman.h>
import "C"

import (
	"context"
	"unsafe"
)

// SnapshotForkParams is where a fork goes and what it is to be. Name is required.
type SnapshotForkParams struct {
	// Name is 1 to 63 of [a-z0-9-], no dash at either end, unique among instances.
	Name string
	// TargetState is what the new instance is to be then.
	TargetState SnapshotForkParamsTargetState
	// Directory is the new directory, which is made; the one around it must be there.
	Directory string
	// Disks says where disks from outside the source's directory go, by their paths at capture.
	Disks map[string]string
	// The others are those of InstanceSnapshotRestoreParams.
	APISocket         string
	NetworkOverrides  map[string]string
	OnDemand          bool
	UffdSocket        string
	AllowIncompatible bool
	Duplicates        Duplicates
}

// SnapshotForkParamsTargetState is what a fork is to be.
type SnapshotForkParamsTargetState string

const (
	SnapshotForkParamsTargetStateStopped SnapshotForkParamsTargetState = "Stopped"
	SnapshotForkParamsTargetStateStandby SnapshotForkParamsTargetState = "Standby"
	SnapshotForkParamsTargetStateRunning SnapshotForkParamsTargetState = "Running"
)

// Fork makes a new instance of a snapshot, with files of its own. The source may be gone, and the snapshot stays as it is.
func (s SnapshotService) Fork(
	ctx context.Context, snapshotID string, params SnapshotForkParams, opts ...CallOption,
) (*Instance, error) {
	return instance(func(out **C.hypeman_instance) error {
		return run(ctx, s.handle, func(c *call) C.hypeman_status {
			options := (*C.hypeman_fork_options)(c.room(C.sizeof_hypeman_fork_options))
			options.struct_size = C.sizeof_hypeman_fork_options
			options.directory = c.optional("directory", params.Directory)
			options.disks, options.disk_count = c.diskPlaces(params.Disks)
			options.restore = c.restoreOptions(InstanceSnapshotRestoreParams{
				TargetState:       InstanceSnapshotRestoreParamsTargetState(params.TargetState),
				APISocket:         params.APISocket,
				NetworkOverrides:  params.NetworkOverrides,
				OnDemand:          params.OnDemand,
				UffdSocket:        params.UffdSocket,
				AllowIncompatible: params.AllowIncompatible,
				Duplicates:        params.Duplicates,
			}, opts)
			id, name := c.text("id", snapshotID), c.text("name", params.Name)
			return C.hypeman_snapshot_fork(s.handle.raw, id, name, options, out, &c.err)
		})
	})
}

func (c *call) diskPlaces(given map[string]string) (*C.hypeman_disk_place, C.size_t) {
	if len(given) == 0 {
		return nil, 0
	}
	made := (*C.hypeman_disk_place)(c.room(C.size_t(len(given)) * C.sizeof_hypeman_disk_place))
	places := unsafe.Slice(made, len(given))[:0]
	for from, to := range given {
		places = append(places, C.hypeman_disk_place{from: c.text("path of a disk", from), to: c.text("path of a disk", to)})
	}
	return made, C.size_t(len(given))
}
