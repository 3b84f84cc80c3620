package hypeman

// #include <hypeman.h>
import "C"

import (
	"context"
	"time"

	"hypeman/packages/param"
)

// SnapshotService has the snapshots of a data directory.
type SnapshotService struct {
	handle *handle
}

// Snapshot is a snapshot: the 14 fields of the API. Where an optional one is absent, it is the zero value.
type Snapshot struct {
	ID                    string                     `json:"id"`
	CreatedAt             time.Time                  `json:"created_at"`
	Kind                  SnapshotKind               `json:"kind"`
	SizeBytes             int64                      `json:"size_bytes"`
	SourceHypervisor      SourceHypervisor           `json:"source_hypervisor"`
	SourceInstanceID      string                     `json:"source_instance_id"`
	SourceInstanceName    string                     `json:"source_instance_name"`
	CompressedSizeBytes   int64                      `json:"compressed_size_bytes,omitempty"`
	Compression           *SnapshotCompressionConfig `json:"compression,omitempty"`
	CompressionError      string                     `json:"compression_error,omitempty"`
	CompressionState      SnapshotCompressionState   `json:"compression_state,omitempty"`
	Name                  string                     `json:"name,omitempty"`
	Tags                  map[string]string          `json:"tags,omitempty"`
	UncompressedSizeBytes int64                      `json:"uncompressed_size_bytes,omitempty"`
}

// SnapshotKind is what a snapshot captures.
type SnapshotKind string

const (
	// SnapshotKindStandby is guest memory, device state and disks; the source is Running, Paused or Standby.
	SnapshotKindStandby SnapshotKind = "Standby"
	// SnapshotKindStopped is disks only; the source is Stopped.
	SnapshotKindStopped SnapshotKind = "Stopped"
)

// SourceHypervisor is the program that runs a VM.
type SourceHypervisor string

// SnapshotSourceHypervisor is the name that the vendor's client has for it.
type SnapshotSourceHypervisor = SourceHypervisor

const (
	SnapshotSourceHypervisorCloudHypervisor SnapshotSourceHypervisor = "cloud-hypervisor"
	SnapshotSourceHypervisorFirecracker     SnapshotSourceHypervisor = "firecracker"
	SnapshotSourceHypervisorQemu            SnapshotSourceHypervisor = "qemu"
	SnapshotSourceHypervisorQemuMicrovm     SnapshotSourceHypervisor = "qemu-microvm"
	SnapshotSourceHypervisorVz              SnapshotSourceHypervisor = "vz"
)

// SnapshotCompressionState is where compression stands.
type SnapshotCompressionState string

const (
	SnapshotCompressionStateNone        SnapshotCompressionState = "none"
	SnapshotCompressionStateCompressing SnapshotCompressionState = "compressing"
	SnapshotCompressionStateCompressed  SnapshotCompressionState = "compressed"
	SnapshotCompressionStateError       SnapshotCompressionState = "error"
)

// SnapshotCompressionConfig is the compression that runs or ran.
type SnapshotCompressionConfig struct {
	Enabled   bool                               `json:"enabled"`
	Algorithm SnapshotCompressionConfigAlgorithm `json:"algorithm,omitempty"`
	// Level is nil where none is said: 0 is one of lz4's.
	Level *int64 `json:"level,omitempty"`
}

// SnapshotCompressionConfigAlgorithm is a form of compressed files.
type SnapshotCompressionConfigAlgorithm string

const (
	SnapshotCompressionConfigAlgorithmZstd SnapshotCompressionConfigAlgorithm = "zstd"
	SnapshotCompressionConfigAlgorithmLz4  SnapshotCompressionConfigAlgorithm = "lz4"
)

// SnapshotCompressionConfigParam is the compression that is asked for. The zero one says nothing and leaves the choice to
// the next default; [NoCompression] says no.
type SnapshotCompressionConfigParam struct {
	Enabled bool
	// Algorithm is "zstd" (the default) or "lz4".
	Algorithm SnapshotCompressionConfigAlgorithm
	// Level is 1 to 19 for zstd, by default 1; 0 to 9 for lz4, by default 0.
	Level param.Opt[int64]

	off bool
}

// NoCompression is no compression, whatever the defaults say.
func NoCompression() SnapshotCompressionConfigParam { return SnapshotCompressionConfigParam{off: true} }

// String is an optional text that is given.
func String(value string) param.Opt[string] { return param.NewOpt(value) }

// Int is an optional number that is given.
func Int(value int64) param.Opt[int64] { return param.NewOpt(value) }

// Bool is an optional truth value that is given.
func Bool(value bool) param.Opt[bool] { return param.NewOpt(value) }

// Opt is an optional value that is given.
func Opt[T any](value T) param.Opt[T] { return param.NewOpt(value) }

// SnapshotListParams is which snapshots to list: what is given must match, exactly.
type SnapshotListParams struct {
	Kind SnapshotKind
	// Name; "" for snapshots without one.
	Name param.Opt[string]
	// SourceInstanceID is not looked up and may be gone.
	SourceInstanceID param.Opt[string]
	// Tags, each of them.
	Tags map[string]string
}

// List lists the snapshots that match, newest first, then by id. Damaged records are left out and never hide others.
func (s SnapshotService) List(ctx context.Context, query SnapshotListParams) (*[]Snapshot, error) {
	var list *C.hypeman_snapshots
	defer func() { C.hypeman_snapshots_free(list) }()
	if err := brief(ctx, s.handle, func(c *call) C.hypeman_status {
		options := (*C.hypeman_list_options)(c.room(C.sizeof_hypeman_list_options))
		options.struct_size = C.sizeof_hypeman_list_options
		options.kind_name = c.optional("kind", string(query.Kind))
		if query.Name.Valid() {
			options.name = c.text("name", query.Name.Value)
		}
		if query.SourceInstanceID.Valid() {
			options.source_instance_id = c.text("source_instance_id", query.SourceInstanceID.Value)
		}
		options.tags, options.tag_count = c.tags(query.Tags)
		return C.hypeman_snapshot_list(s.handle.raw, options, &list, &c.err)
	}); err != nil {
		return nil, err
	}
	found := make([]Snapshot, C.hypeman_snapshots_count(list))
	for i := range found {
		one := C.hypeman_snapshots_at(list, C.size_t(i))
		if err := read(C.hypeman_snapshot_to_json(one), &found[i]); err != nil {
			return nil, err
		}
	}
	return &found, nil
}

// Get gets a snapshot by its id, always fresh from its record. Names and prefixes are not looked for.
func (s SnapshotService) Get(ctx context.Context, snapshotID string) (*Snapshot, error) {
	return s.one(ctx, func(c *call, out **C.hypeman_snapshot) C.hypeman_status {
		return C.hypeman_snapshot_get(s.handle.raw, c.text("id", snapshotID), out, &c.err)
	})
}

// Delete deletes a snapshot by its id, a damaged one too. Its compression is stopped first.
func (s SnapshotService) Delete(ctx context.Context, snapshotID string) error {
	return brief(ctx, s.handle, func(c *call) C.hypeman_status {
		return C.hypeman_snapshot_delete(s.handle.raw, c.text("id", snapshotID), &c.err)
	})
}

// Wait waits until the compression of a snapshot has ended, well or not, in whichever process it runs.
func (s SnapshotService) Wait(ctx context.Context, snapshotID string, opts ...CallOption) (*Snapshot, error) {
	return snapshot(func(out **C.hypeman_snapshot) error {
		return run(ctx, s.handle, func(c *call) C.hypeman_status {
			return C.hypeman_snapshot_wait(s.handle.raw, c.text("id", snapshotID), c.limits(opts), out, &c.err)
		})
	})
}

// Compress starts compressing the raw memory of a snapshot in the background. Zero settings repeat those of the snapshot.
func (s SnapshotService) Compress(
	ctx context.Context, snapshotID string, settings SnapshotCompressionConfigParam,
) (*Snapshot, error) {
	return s.one(ctx, func(c *call, out **C.hypeman_snapshot) C.hypeman_status {
		id, settings := c.text("id", snapshotID), c.compression(settings)
		return C.hypeman_snapshot_compress(s.handle.raw, id, settings, out, &c.err)
	})
}

// CancelCompression stops the compression of a snapshot, if one runs: its state is "none" then, its memory raw.
func (s SnapshotService) CancelCompression(ctx context.Context, snapshotID string) (*Snapshot, error) {
	return s.one(ctx, func(c *call, out **C.hypeman_snapshot) C.hypeman_status {
		return C.hypeman_snapshot_cancel_compression(s.handle.raw, c.text("id", snapshotID), out, &c.err)
	})
}

func (s SnapshotService) one(
	ctx context.Context, ask func(*call, **C.hypeman_snapshot) C.hypeman_status,
) (*Snapshot, error) {
	return snapshot(func(out **C.hypeman_snapshot) error {
		return brief(ctx, s.handle, func(c *call) C.hypeman_status { return ask(c, out) })
	})
}

// snapshot is what ask hands out.
func snapshot(ask func(**C.hypeman_snapshot) error) (*Snapshot, error) {
	var out *C.hypeman_snapshot
	defer func() { C.hypeman_snapshot_free(out) }()
	if err := ask(&out); err != nil {
		return nil, err
	}
	var made Snapshot
	return &made, read(C.hypeman_snapshot_to_json(out), &made)
}
