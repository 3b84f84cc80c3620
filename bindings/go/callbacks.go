package hypeman

// #include "callbacks.h"
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// watcher hears how far one call has come. A panic must not cross the library, whose locks it would leave held: it is
// kept, the call is cancelled, and whoever made the call panics in its place.
type watcher struct {
	report   func(Progress)
	panicked any
}

//export hypemanGoProgress
func hypemanGoProgress(progress *C.hypeman_progress, user unsafe.Pointer) (end C.int) {
	watcher := cgo.Handle(C.hypemanGoKept(user)).Value().(*watcher)
	defer func() {
		if panicked := recover(); panicked != nil {
			watcher.panicked, end = panicked, 1
		}
	}()
	watcher.report(Progress{
		Phase:      phases[progress.phase],
		BytesDone:  uint64(progress.bytes_done),
		BytesTotal: uint64(progress.bytes_total),
	})
	return 0
}

//export hypemanGoLog
func hypemanGoLog(level C.int32_t, message *C.char, id *C.char, user unsafe.Pointer) {
	log := cgo.Handle(C.hypemanGoKept(user)).Value().(func(LogEvent))
	log(LogEvent{Level: levels[level], Message: C.GoString(message), ID: C.GoString(id)})
}

var phases = map[C.int32_t]ProgressPhase{
	C.HYPEMAN_PHASE_PREPARING:     ProgressPhasePreparing,
	C.HYPEMAN_PHASE_SAVING_MEMORY: ProgressPhaseSavingMemory,
	C.HYPEMAN_PHASE_COPYING_DISKS: ProgressPhaseCopyingDisks,
	C.HYPEMAN_PHASE_SYNCING:       ProgressPhaseSyncing,
	C.HYPEMAN_PHASE_COMPRESSING:   ProgressPhaseCompressing,
	C.HYPEMAN_PHASE_VERIFYING:     ProgressPhaseVerifying,
}

var levels = map[C.int32_t]LogLevel{
	C.HYPEMAN_LOG_LEVEL_INFO:    LogLevelInfo,
	C.HYPEMAN_LOG_LEVEL_WARNING: LogLevelWarning,
}
