package hypeman

// #include <hypeman.h>
import "C"

import (
	"context"
	"time"
	"unsafe"

	"hypeman/packages/param"
)

// InstanceService has the VMs that the data directory was told of.
type InstanceService struct {
	Snapshots InstanceSnapshotService

	handle *handle
}

// Instance is a VM, where it is and what it did when it was looked up.
type Instance struct {
	ID         string           `json:"id"`
	Name       string           `json:"name"`
	Hypervisor SourceHypervisor `json:"hypervisor"`
	State      InstanceState    `json:"state"`
	// Origin is who told of it: "registered" or "server".
	Origin InstanceOrigin `json:"origin"`
	// CreatedAt is when it was registered, or created by the vendor's server.
	CreatedAt   time.Time                  `json:"created_at"`
	APISocket   string                     `json:"api_socket,omitempty"`
	Directory   string                     `json:"directory,omitempty"`
	Disks       []Disk                     `json:"disks"`
	Compression *SnapshotCompressionConfig `json:"compression,omitempty"`
	// Generation is which copy of its snapshot's memory it has, counted from 1; 0 where that is not known: only the
	// restore or fork that gave it the memory tells.
	Generation uint64 `json:"generation,omitempty"`
	// StagingDirectory is where a VMM that runs as another user or in a jail writes to and loads from, and
	// StagingDirectoryInVmm the path of it that the VMM sees.
	StagingDirectory      string `json:"staging_directory,omitempty"`
	StagingDirectoryInVmm string `json:"staging_directory_in_vmm,omitempty"`
}

// InstanceState is what a VM does.
type InstanceState string

const (
	InstanceStateCreated      InstanceState = "Created"
	InstanceStateInitializing InstanceState = "Initializing"
	InstanceStateRunning      InstanceState = "Running"
	InstanceStatePaused       InstanceState = "Paused"
	InstanceStateShutdown     InstanceState = "Shutdown"
	InstanceStateStandby      InstanceState = "Standby"
	InstanceStateStopped      InstanceState = "Stopped"
	InstanceStateUnknown      InstanceState = "Unknown"
)

// InstanceOrigin is who told of a VM.
type InstanceOrigin string

const (
	InstanceOriginRegistered InstanceOrigin = "registered"
	InstanceOriginServer     InstanceOrigin = "server"
)

// Disk is a disk of a VM: a regular file on the host.
type Disk struct {
	// Path is absolute.
	Path string `json:"path"`
	// Readonly says that the guest can only read it; then it is copied before the pause.
	Readonly bool `json:"readonly"`
}

// InstanceRegisterParams is what the host tells of a VM that it runs. Name and Hypervisor are required.
type InstanceRegisterParams struct {
	// Name is 1 to 63 of [a-z0-9-], no dash at either end, unique among instances.
	Name       string
	Hypervisor SourceHypervisor
	// ID to keep; one is made where none is given.
	ID param.Opt[string]
	// APISocket is the absolute path of the VMM's API socket. QEMU: a -qmp socket that no one else uses.
	APISocket string
	// Directory is the absolute path of the instance directory. All of it is captured, but for sockets and logs/.
	Directory string
	// Disks inside the directory or not; nil: every file of the directory is taken for one.
	Disks []Disk
	// Compression that its snapshots have by default.
	Compression SnapshotCompressionConfigParam
	// StagingDirectory is the absolute path of a directory that a VMM that runs as another user or in a jail can reach,
	// too. What it writes is moved from there into the snapshot, and what it loads is put there.
	StagingDirectory string
	// StagingDirectoryInVmm is the path of that directory as the VMM sees it; "": the same.
	StagingDirectoryInVmm string
	// ExclusiveSnapshots is the promise that no other program, and no other data directory, takes snapshots of this VM
	// as long as its VMM lives. Then firecracker, where it tracks dirty pages, writes only what changed since its last
	// snapshot. Were it broken, such a snapshot would lack changes, and nothing could show it.
	ExclusiveSnapshots bool
}

// Register tells of a VM. Telling it the same again is fine and gives the same instance.
func (s InstanceService) Register(ctx context.Context, params InstanceRegisterParams) (*Instance, error) {
	return s.one(ctx, func(c *call, out **C.hypeman_instance) C.hypeman_status {
		options := (*C.hypeman_register_options)(c.room(C.sizeof_hypeman_register_options))
		options.struct_size = C.sizeof_hypeman_register_options
		options.name = c.text("name", params.Name)
		options.hypervisor = c.text("hypervisor", string(params.Hypervisor))
		if params.ID.Valid() {
			options.id = c.text("id", params.ID.Value)
		}
		options.api_socket = c.optional("api_socket", params.APISocket)
		options.directory = c.optional("directory", params.Directory)
		options.disks, options.disk_count = c.disks(params.Disks)
		options.compression = c.compression(params.Compression)
		options.staging_directory = c.optional("staging_directory", params.StagingDirectory)
		options.staging_directory_in_vmm = c.optional("staging_directory_in_vmm", params.StagingDirectoryInVmm)
		options.exclusive_snapshots = flag(params.ExclusiveSnapshots)
		return C.hypeman_instance_register(s.handle.raw, options, out, &c.err)
	})
}

// Get finds an instance by exact id, then exact name, then unique id prefix.
func (s InstanceService) Get(ctx context.Context, id string) (*Instance, error) {
	return s.one(ctx, func(c *call, out **C.hypeman_instance) C.hypeman_status {
		return C.hypeman_instance_get(s.handle.raw, c.text("id", id), out, &c.err)
	})
}

// List lists every instance, by name.
func (s InstanceService) List(ctx context.Context) (*[]Instance, error) {
	var list *C.hypeman_instances
	defer func() { C.hypeman_instances_free(list) }()
	if err := brief(ctx, s.handle, func(c *call) C.hypeman_status {
		return C.hypeman_instance_list(s.handle.raw, &list, &c.err)
	}); err != nil {
		return nil, err
	}
	found := make([]Instance, C.hypeman_instances_count(list))
	for i := range found {
		one := C.hypeman_instances_at(list, C.size_t(i))
		if err := read(C.hypeman_instance_to_json(one), &found[i]); err != nil {
			return nil, err
		}
	}
	return &found, nil
}

// Unregister forgets a registered instance. The VM, its files and its snapshots stay as they are.
func (s InstanceService) Unregister(ctx context.Context, id string) error {
	return brief(ctx, s.handle, func(c *call) C.hypeman_status {
		return C.hypeman_instance_unregister(s.handle.raw, c.text("id", id), &c.err)
	})
}

func (s InstanceService) one(
	ctx context.Context, ask func(*call, **C.hypeman_instance) C.hypeman_status,
) (*Instance, error) {
	return instance(func(out **C.hypeman_instance) error {
		return brief(ctx, s.handle, func(c *call) C.hypeman_status { return ask(c, out) })
	})
}

// instance is what ask hands out.
func instance(ask func(**C.hypeman_instance) error) (*Instance, error) {
	var out *C.hypeman_instance
	defer func() { C.hypeman_instance_free(out) }()
	if err := ask(&out); err != nil {
		return nil, err
	}
	var found Instance
	return &found, read(C.hypeman_instance_to_json(out), &found)
}

func (c *call) disks(given []Disk) (*C.hypeman_disk, C.size_t) {
	if len(given) == 0 {
		return nil, 0
	}
	made := (*C.hypeman_disk)(c.room(C.size_t(len(given)) * C.sizeof_hypeman_disk))
	disks := unsafe.Slice(made, len(given))
	for i, disk := range given {
		disks[i].path = c.text("path of a disk", disk.Path)
		disks[i].readonly = flag(disk.Readonly)
	}
	return made, C.size_t(len(given))
}
