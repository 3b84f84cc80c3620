package hypeman

// #include <hypeman.h>
import "C"

import (
	"context"
	"io"
	"runtime"
	"sync"
	"unsafe"
)

// Memory is the guest memory of a snapshot, open for reading, compressed or not. Any number of goroutines may read at
// once. While it is open, the snapshot cannot be deleted. It is an [io.ReaderAt]. Like an os.File it is closed at some time
// after it was forgotten.
type Memory struct {
	mutex sync.RWMutex
	raw   *C.hypeman_memory
}

// MemoryExtent is a part of a memory image.
type MemoryExtent struct {
	Offset    int64      `json:"offset"`
	SizeBytes int64      `json:"size_bytes"`
	Kind      ExtentKind `json:"kind"`
}

// ExtentKind is what a part of a memory image is.
type ExtentKind string

const (
	ExtentKindData ExtentKind = "data"
	ExtentKindZero ExtentKind = "zero"
	ExtentKindHole ExtentKind = "hole"
)

var extentKinds = map[C.int32_t]ExtentKind{
	C.HYPEMAN_EXTENT_KIND_DATA: ExtentKindData,
	C.HYPEMAN_EXTENT_KIND_ZERO: ExtentKindZero,
	C.HYPEMAN_EXTENT_KIND_HOLE: ExtentKindHole,
}

// MemoryRange is a range of guest-physical memory that lies in one piece in an image.
type MemoryRange struct {
	GuestAddress uint64 `json:"guest_address"`
	Offset       int64  `json:"offset"`
	SizeBytes    int64  `json:"size_bytes"`
}

// Memory opens the guest memory of a snapshot for reading at any offset, also while it is being compressed.
func (s SnapshotService) Memory(ctx context.Context, snapshotID string) (*Memory, error) {
	memory := &Memory{}
	err := brief(ctx, s.handle, func(c *call) C.hypeman_status {
		return C.hypeman_snapshot_memory(s.handle.raw, c.text("id", snapshotID), &memory.raw, &c.err)
	})
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(memory, (*Memory).Close)
	return memory, nil
}

// SnapshotID is the id of the snapshot; "" once the image was closed.
func (m *Memory) SnapshotID() string {
	m.mutex.RLock()
	defer m.mutex.RUnlock()
	return C.GoString(C.hypeman_memory_snapshot_id(m.raw))
}

// Size is the length of the image in bytes.
func (m *Memory) Size() int64 {
	m.mutex.RLock()
	defer m.mutex.RUnlock()
	return int64(C.hypeman_memory_size_bytes(m.raw))
}

// Path is that of the file that is read, raw or compressed.
func (m *Memory) Path() string {
	m.mutex.RLock()
	defer m.mutex.RUnlock()
	return C.GoString(C.hypeman_memory_path(m.raw))
}

// ReadAt fills buffer from an offset of the raw image.
func (m *Memory) ReadAt(buffer []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, refused("offset is negative")
	}
	if len(buffer) == 0 {
		return 0, nil
	}
	var done C.size_t
	err := m.ask(func(c *call) C.hypeman_status {
		into := unsafe.Pointer(&buffer[0])
		return C.hypeman_memory_read(m.raw, C.uint64_t(offset), into, C.size_t(len(buffer)), &done, &c.err)
	})
	if err == nil && int(done) < len(buffer) {
		err = io.EOF
	}
	return int(done), err
}

// Extents tells what the image consists of, from its start to its end without a gap.
func (m *Memory) Extents() ([]MemoryExtent, error) {
	var list *C.hypeman_extents
	defer func() { C.hypeman_extents_free(list) }()
	if err := m.ask(func(c *call) C.hypeman_status { return C.hypeman_memory_extents(m.raw, &list, &c.err) }); err != nil {
		return nil, err
	}
	found := make([]MemoryExtent, C.hypeman_extents_count(list))
	for i := range found {
		one := C.hypeman_extents_at(list, C.size_t(i))
		found[i] = MemoryExtent{int64(one.offset), int64(one.size_bytes), extentKinds[one.kind]}
	}
	return found, nil
}

// Ranges tells which guest-physical addresses lie where in the image.
func (m *Memory) Ranges() ([]MemoryRange, error) {
	var list *C.hypeman_ranges
	defer func() { C.hypeman_ranges_free(list) }()
	if err := m.ask(func(c *call) C.hypeman_status { return C.hypeman_memory_ranges(m.raw, &list, &c.err) }); err != nil {
		return nil, err
	}
	found := make([]MemoryRange, C.hypeman_ranges_count(list))
	for i := range found {
		one := C.hypeman_ranges_at(list, C.size_t(i))
		found[i] = MemoryRange{uint64(one.guest_address), int64(one.offset), int64(one.size_bytes)}
	}
	return found, nil
}

// Close closes the image; the snapshot can be deleted then. It waits for reads that run. Closing twice is fine.
func (m *Memory) Close() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	C.hypeman_memory_free(m.raw)
	m.raw = nil
	return nil
}

func (m *Memory) ask(make func(*call) C.hypeman_status) error {
	m.mutex.RLock()
	defer m.mutex.RUnlock()
	if m.raw == nil {
		return closed("the memory image was closed")
	}
	return run(context.Background(), nil, make)
}
