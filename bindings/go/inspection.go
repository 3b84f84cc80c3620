package hypeman

// #include <hypeman.h>
import "C"

import "context"

// Inspection is what the 14 fields cannot say.
type Inspection struct {
	Snapshot Snapshot      `json:"snapshot"`
	Files    []PayloadFile `json:"files"`
	// AllocatedBytes is what the payload occupies on the disk, blocks that are shared with other files among them.
	AllocatedBytes int64 `json:"allocated_bytes"`
	// Capture is nil where libhypeman did not make the snapshot.
	Capture *Capture `json:"capture,omitempty"`
	// Generation is how often the memory was handed out, by restores and forks.
	Generation uint64 `json:"generation"`
}

// PayloadFile is a file of the payload; its path is beneath guest/.
type PayloadFile struct {
	Path           string `json:"path"`
	SizeBytes      int64  `json:"size_bytes"`
	AllocatedBytes int64  `json:"allocated_bytes"`
}

// Capture is how a snapshot came to be. Times are in milliseconds, and nil where the VM was not paused.
type Capture struct {
	SourceState       string   `json:"source_state"`
	PausedMs          *float64 `json:"paused_ms,omitempty"`
	SavingMemoryMs    *float64 `json:"saving_memory_ms,omitempty"`
	CopyingDisksMs    *float64 `json:"copying_disks_ms,omitempty"`
	HypervisorVersion string   `json:"hypervisor_version,omitempty"`
	MemoryFormat      string   `json:"memory_format,omitempty"`
	MemoryFile        string   `json:"memory_file,omitempty"`
	StateFormat       string   `json:"state_format,omitempty"`
	Host              Host     `json:"host"`
	LibhypemanVersion string   `json:"libhypeman_version"`
}

// Host is the machine that a snapshot was captured on.
type Host struct {
	Kernel       string `json:"kernel"`
	Architecture string `json:"architecture"`
	CPUModel     string `json:"cpu_model"`
	CPUVendor    string `json:"cpu_vendor"`
	CPUFlags     string `json:"cpu_flags"`
}

// Inspect tells what the 14 fields cannot say: files, sizes on disk, how it was captured.
func (s SnapshotService) Inspect(ctx context.Context, snapshotID string) (*Inspection, error) {
	var out *C.hypeman_inspection
	defer func() { C.hypeman_inspection_free(out) }()
	if err := brief(ctx, s.handle, func(c *call) C.hypeman_status {
		return C.hypeman_snapshot_inspect(s.handle.raw, c.text("id", snapshotID), &out, &c.err)
	}); err != nil {
		return nil, err
	}
	var inspection Inspection
	return &inspection, read(C.hypeman_inspection_to_json(out), &inspection)
}

// VerifyReport is what was found when every byte of a snapshot was read. Paths are relative to its directory.
type VerifyReport struct {
	SnapshotID string         `json:"snapshot_id"`
	Files      []VerifiedFile `json:"files"`
	Defects    []Defect       `json:"defects"`
}

// VerifiedFile is a file of the payload that is there.
type VerifiedFile struct {
	Path      string `json:"path"`
	SizeBytes int64  `json:"size_bytes"`
	// Status is "good", "damaged" or "unchecked".
	Status FileStatus `json:"status"`
}

// FileStatus is what is known of a file.
type FileStatus string

const (
	FileStatusGood      FileStatus = "good"
	FileStatusDamaged   FileStatus = "damaged"
	FileStatusUnchecked FileStatus = "unchecked"
)

// Defect is something that is not as it was captured.
type Defect struct {
	Path string     `json:"path"`
	Kind DefectKind `json:"kind"`
	// Offset and SizeBytes are the part in which the damage lies; nil where the whole file is concerned.
	Offset    *int64 `json:"offset,omitempty"`
	SizeBytes *int64 `json:"size_bytes,omitempty"`
	Message   string `json:"message"`
}

// DefectKind is what kind of defect it is.
type DefectKind string

const (
	DefectKindMissing  DefectKind = "missing"
	DefectKindExtra    DefectKind = "extra"
	DefectKindSize     DefectKind = "size"
	DefectKindContent  DefectKind = "content"
	DefectKindFrame    DefectKind = "frame"
	DefectKindMetadata DefectKind = "metadata"
)

// IsGood tells whether every file was checked and nothing is wrong.
func (r VerifyReport) IsGood() bool {
	for _, file := range r.Files {
		if file.Status != FileStatusGood {
			return false
		}
	}
	return len(r.Defects) == 0
}

// Verify reads every byte of the payload of a snapshot and compares it with the checksums that were made after its capture.
// Damage is what the report is for, not an error.
func (s SnapshotService) Verify(ctx context.Context, snapshotID string, opts ...CallOption) (*VerifyReport, error) {
	var out *C.hypeman_verification
	defer func() { C.hypeman_verification_free(out) }()
	if err := run(ctx, s.handle, func(c *call) C.hypeman_status {
		return C.hypeman_snapshot_verify(s.handle.raw, c.text("id", snapshotID), c.limits(opts), &out, &c.err)
	}); err != nil {
		return nil, err
	}
	var report VerifyReport
	return &report, read(C.hypeman_verification_to_json(out), &report)
}
