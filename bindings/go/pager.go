package hypeman

// #include <hypeman.h>
import "C"

import (
	"context"
	"sync"
	"unsafe"

	"hypeman/packages/param"
)

// SnapshotServeMemoryParams is how to serve the memory of a snapshot. The zero one is the defaults.
type SnapshotServeMemoryParams struct {
	// Socket is the absolute path, of at most 107 bytes, at which to listen and at which nothing lies yet; "": one of the
	// library's own in the directory for temporary files.
	Socket string
	// CacheBytes is the most decoded memory that is kept for the next VM that wants it; 0: 64 MiB.
	CacheBytes uint64
	// Prefetch installs what an earlier VM wanted first ahead of the guest, which is the default.
	Prefetch param.Opt[bool]
	// Fill installs all other memory, too, in the background. A VM that has all of it needs no pager any more.
	Fill bool
	// SpinUs is for how many microseconds after a fault a CPU is kept busy with waiting for the next one, at most (up to
	// 1000); by default 30.
	SpinUs param.Opt[int64]
	// Cpus that the threads of the pager may run on; nil: all.
	Cpus []uint32
}

// Pager serves the guest memory of a snapshot to VMs that run already. Any number of goroutines may use it.
type Pager struct {
	mutex sync.RWMutex
	raw   *C.hypeman_pager
	// Keeps the data directory open: VMs must not lose their memory because the Client was forgotten.
	handle *handle
}

// PagerMetrics is what a pager has done so far.
type PagerMetrics struct {
	// Vms that are connected now, that ever were, and that were given all of their memory.
	Vms      uint64 `json:"vms"`
	VmsSeen  uint64 `json:"vms_seen"`
	VmsWhole uint64 `json:"vms_whole"`
	// Faults that were answered.
	Faults uint64 `json:"faults"`
	// CopiedBytes and ZeroBytes that VMs were given; of both, those ahead of the guest, and those in the background.
	CopiedBytes     uint64 `json:"copied_bytes"`
	ZeroBytes       uint64 `json:"zero_bytes"`
	PrefetchedBytes uint64 `json:"prefetched_bytes"`
	FilledBytes     uint64 `json:"filled_bytes"`
	// FaultUs counts, at index i, the faults that took less than 2^i microseconds; the last one all longer ones.
	FaultUs []uint64 `json:"fault_us"`
	// Errors: damaged frames, VMs that were refused; and what the last one said.
	Errors    uint64 `json:"errors"`
	LastError string `json:"last_error,omitempty"`
}

// ServeMemory serves the guest memory of a snapshot to VMs that run already, page by page as they touch it, straight from
// its file. Any number of firecrackers may be given [Pager.Socket] as UffdSocket. A VM that has not got all of its memory
// when the pager is stopped stands still at the next page that it misses, for ever; when the process dies instead, it ends
// there by SIGBUS.
func (s SnapshotService) ServeMemory(
	ctx context.Context, snapshotID string, params SnapshotServeMemoryParams,
) (*Pager, error) {
	pager := &Pager{handle: s.handle}
	err := brief(ctx, s.handle, func(c *call) C.hypeman_status {
		options := (*C.hypeman_serve_options)(c.room(C.sizeof_hypeman_serve_options))
		options.struct_size = C.sizeof_hypeman_serve_options
		options.socket = c.optional("socket", params.Socket)
		options.cache_bytes = C.uint64_t(params.CacheBytes)
		options.no_prefetch = flag(!params.Prefetch.Or(true))
		options.fill = flag(params.Fill)
		options.spin_us = spin(params.SpinUs)
		if count := C.size_t(len(params.Cpus)); count > 0 {
			options.cpus, options.cpu_count = (*C.uint32_t)(c.room(count*C.sizeof_uint32_t)), count
			for i, cpu := range params.Cpus {
				unsafe.Slice(options.cpus, count)[i] = C.uint32_t(cpu)
			}
		}
		return C.hypeman_snapshot_serve_memory(s.handle.raw, c.text("id", snapshotID), options, &pager.raw, &c.err)
	})
	if err != nil {
		return nil, err
	}
	return pager, nil
}

// spin is as C has it, where 0 is the default and what is negative means not at all.
func spin(given param.Opt[int64]) C.int32_t {
	switch {
	case !given.Valid():
		return 0
	case given.Value <= 0:
		return -1
	case given.Value > 1<<20:
		return 1 << 20 // which the library refuses
	}
	return C.int32_t(given.Value)
}

// SnapshotID is the id of the snapshot; "" once the pager was closed.
func (p *Pager) SnapshotID() string {
	p.mutex.RLock()
	defer p.mutex.RUnlock()
	return C.GoString(C.hypeman_pager_snapshot_id(p.raw))
}

// Socket is the path that VMs connect to; "" once the pager was closed.
func (p *Pager) Socket() string {
	p.mutex.RLock()
	defer p.mutex.RUnlock()
	return C.GoString(C.hypeman_pager_socket(p.raw))
}

// Metrics tells what the pager has done so far; after Stop, too.
func (p *Pager) Metrics() (*PagerMetrics, error) {
	var out *C.hypeman_metrics
	defer func() { C.hypeman_metrics_free(out) }()
	err := p.ask(context.Background(), func(c *call) C.hypeman_status {
		return C.hypeman_pager_metrics(p.raw, &out, &c.err)
	})
	if err != nil {
		return nil, err
	}
	var metrics PagerMetrics
	return &metrics, read(C.hypeman_metrics_to_json(out), &metrics)
}

// Wait waits until at least one VM has connected, and each that did is gone or has all of its memory. Without Fill none
// ever has that.
func (p *Pager) Wait(ctx context.Context) error {
	return p.ask(ctx, func(c *call) C.hypeman_status {
		return C.hypeman_pager_wait(p.raw, c.limits(nil), &c.err)
	})
}

// Stop stops serving, and returns when that is done. Stopping twice is fine.
func (p *Pager) Stop() error {
	return p.ask(context.Background(), func(c *call) C.hypeman_status {
		return C.hypeman_pager_stop(p.raw, &c.err)
	})
}

// Close stops the pager, whoever waits for it, and forgets it. Closing twice is fine.
func (p *Pager) Close() error {
	err := p.Stop()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.raw == nil {
		return nil
	}
	C.hypeman_pager_free(p.raw)
	p.raw = nil
	return err
}

func (p *Pager) ask(ctx context.Context, make func(*call) C.hypeman_status) error {
	p.mutex.RLock()
	defer p.mutex.RUnlock()
	if p.raw == nil {
		return closed("the pager was closed")
	}
	return run(ctx, p.handle, make)
}
