// Package hypeman takes snapshots of virtual machines in this process: it opens a data directory, is told where VMs are,
// and creates, lists, fetches and restores snapshots of them.
//
//	client, err := hypeman.Open("/var/lib/hypeman", nil)
//	snapshot, err := client.Instances.Snapshots.New(ctx, "nginx1", hypeman.InstanceSnapshotNewParams{
//		Kind: hypeman.SnapshotKindStandby,
//	})
//
// Names are those of the hypeman server's client for Go. It stands on libhypeman's C library, found by pkg-config when it
// is built; with the build tag hypeman_static the library becomes part of the program.
//
// A Client and its services may be used by any number of goroutines at once. Calls block; a context that ends, ends the
// call, and whatever the call did to a VM is undone. What fails is an [*Error].
package hypeman

// #include <hypeman.h>
// #include "callbacks.h"
import "C"

import (
	"context"
	"runtime"
	"runtime/cgo"
	"time"
	"unsafe"
)

// Client is an open data directory.
type Client struct {
	Instances InstanceService
	Snapshots SnapshotService

	handle *handle
}

// Options tell how to open a data directory. The zero Options are the defaults.
type Options struct {
	// ReadOnly opens for reading only: nothing is created, recovered or resumed, and every write is refused.
	ReadOnly bool
	// Compression of snapshots for which neither the request nor the instance says anything.
	Compression SnapshotCompressionConfigParam
	// Durability is "full" (what is acknowledged survives a power cut) or "relaxed" (the end of the process only).
	Durability Durability
	// Threads is how many a call or job may use at most; 0 for the number of CPUs.
	Threads uint32
	// AllowNetworkFS writes to a data directory on a network file system, where locks cannot be trusted.
	AllowNetworkFS bool
	// OwnsServerInstances says that no server of the vendor's runs on this data directory.
	OwnsServerInstances bool
	// Log hears of what happens in the background, on any goroutine, several at once. It must not use the
	// client, and must not panic.
	Log func(LogEvent)
	// OffloadMemory has guest memory of cloud-hypervisor go straight into and out of its compressed form.
	OffloadMemory bool
}

// Durability says what an acknowledged snapshot survives.
type Durability string

const (
	DurabilityFull    Durability = "full"
	DurabilityRelaxed Durability = "relaxed"
)

// handle is the library's, freed when no one can reach it any more: a call of another goroutine may outlast Close.
type handle struct {
	raw *C.hypeman_handle
	log *cgo.Handle
}

// Open opens a data directory, and makes it where it is missing. For "" it is $HYPEMAN_DATA_DIR, else /var/lib/hypeman.
// nil options are the defaults.
func Open(dataDir string, options *Options) (*Client, error) {
	if options == nil {
		options = &Options{}
	}
	h := &handle{}
	err := run(context.Background(), h, func(c *call) C.hypeman_status {
		var path *C.char
		if dataDir != "" {
			path = c.text("data_dir", dataDir)
		}
		return C.hypeman_open(path, c.openOptions(*options, h), &h.raw, &c.err)
	})
	if err != nil {
		h.free()
		return nil, err
	}
	runtime.SetFinalizer(h, (*handle).free)
	instances := InstanceService{handle: h, Snapshots: InstanceSnapshotService{handle: h}}
	return &Client{Instances: instances, Snapshots: SnapshotService{handle: h}, handle: h}, nil
}

// DataDir is the data directory as an absolute path.
func (c *Client) DataDir() string {
	defer runtime.KeepAlive(c.handle)
	return C.GoString(C.hypeman_data_dir(c.handle.raw))
}

// Finish waits until what happens in the background has ended: compression and checksums. A program that is over soon
// calls it before Close, else whoever opens the data directory next begins that work anew.
func (c *Client) Finish(ctx context.Context, opts ...CallOption) error {
	return run(ctx, c.handle, func(call *call) C.hypeman_status {
		return C.hypeman_finish(c.handle.raw, call.limits(opts), &call.err)
	})
}

// Close ends the use of the data directory: later calls fail with [ErrClosed], those that run come to their own end (a
// context ends them), and compression stops until the next opener goes on with it. Pagers stop; what else was handed out stays
// valid. Closing twice is fine.
func (c *Client) Close() error {
	defer runtime.KeepAlive(c.handle)
	C.hypeman_shutdown(c.handle.raw)
	return nil
}

// Version is the version of the library that runs.
func Version() string { return C.GoString(C.hypeman_version()) }

func (h *handle) free() {
	C.hypeman_close(h.raw)
	h.raw = nil
	if h.log != nil {
		h.log.Delete()
		h.log = nil
	}
}

func (c *call) openOptions(given Options, h *handle) *C.hypeman_open_options {
	options := (*C.hypeman_open_options)(c.room(C.sizeof_hypeman_open_options))
	options.struct_size = C.sizeof_hypeman_open_options
	options.read_only = flag(given.ReadOnly)
	options.allow_network_fs = flag(given.AllowNetworkFS)
	options.owns_server_instances = flag(given.OwnsServerInstances)
	options.offload_memory = flag(given.OffloadMemory)
	options.threads = C.uint32_t(given.Threads)
	options.compression = c.compression(given.Compression)
	options.durability = c.optional("durability", string(given.Durability))
	if given.Log != nil {
		log := cgo.NewHandle(given.Log)
		h.log = &log
		options.log = C.hypeman_log_callback(unsafe.Pointer(C.hypemanGoLog))
		// Until the handle is freed, so not in memory of this call.
		options.log_user = C.hypemanGoKeep(C.uintptr_t(log))
	}
	return options
}

// LogEvent is something that happened in the background, or that no call reports.
type LogEvent struct {
	Level LogLevel
	// Message is one sentence in plain English, whose words may change.
	Message string
	// ID of the snapshot or instance that it is about.
	ID string
}

// LogLevel says how much an event matters.
type LogLevel string

const (
	LogLevelInfo    LogLevel = "info"
	LogLevelWarning LogLevel = "warning"
)

// Progress says how far a call has come.
type Progress struct {
	Phase ProgressPhase
	// BytesDone of this phase, and BytesTotal, which is 0 while unknown.
	BytesDone, BytesTotal uint64
}

// ProgressPhase is a part of a call.
type ProgressPhase string

const (
	ProgressPhasePreparing    ProgressPhase = "preparing"
	ProgressPhaseSavingMemory ProgressPhase = "saving_memory"
	ProgressPhaseCopyingDisks ProgressPhase = "copying_disks"
	ProgressPhaseSyncing      ProgressPhase = "syncing"
	ProgressPhaseCompressing  ProgressPhase = "compressing"
	ProgressPhaseVerifying    ProgressPhase = "verifying"
)

// CallOption is something that one long call is given.
type CallOption func(*callSettings)

type callSettings struct {
	progress func(Progress)
}

// WithProgress has report hear how far a call has come, a few times a second at most.
func WithProgress(report func(Progress)) CallOption {
	return func(settings *callSettings) { settings.progress = report }
}

// milliseconds that are left until deadline, rounded up; what the library takes for "over at once" where none are.
func milliseconds(deadline time.Time) C.uint64_t {
	left := time.Until(deadline)
	if left <= 0 {
		return C.HYPEMAN_TIMEOUT_AT_ONCE
	}
	return C.uint64_t((left + time.Millisecond - 1) / time.Millisecond)
}
