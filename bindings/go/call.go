package hypeman

// #include <hypeman.h>
// #include <stdlib.h>
// #include "callbacks.h"
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/cgo"
	"strings"
	"time"
	"unsafe"
)

// call is one call of the library. What it is given lies in C's memory, since structs may not point to Go's, and is freed
// when it is over.
type call struct {
	ctx   context.Context
	err   *C.hypeman_error
	atEnd []func()
	watch *watcher
}

// run makes a call, whose context and limits apply where it asks for them.
func run(ctx context.Context, h *handle, make func(*call) C.hypeman_status) (err error) {
	if ctx == nil {
		ctx = context.Background()
	}
	c := &call{ctx: ctx}
	defer c.end(h)
	defer func() {
		// What cannot be handed to C is found while its arguments are made.
		switch panicked := recover().(type) {
		case nil:
		case *Error:
			err = panicked
		default:
			panic(panicked)
		}
	}()
	if make(c) == C.HYPEMAN_STATUS_OK {
		return nil
	}
	return c.failure()
}

// brief is run for a call that has no limits: its context is looked at before it is made.
func brief(ctx context.Context, h *handle, make func(*call) C.hypeman_status) error {
	if ctx != nil && ctx.Err() != nil {
		return ended(ctx.Err())
	}
	return run(ctx, h, make)
}

// read takes over a JSON text of the library's. It gives none where a path is not UTF-8.
func read[T any](text *C.char, into *T) error {
	defer C.hypeman_string_free(text)
	if text == nil {
		return failed(C.HYPEMAN_STATUS_NOT_SUPPORTED, "this cannot be told as JSON: a path is not UTF-8")
	}
	return json.Unmarshal([]byte(C.GoString(text)), into)
}

func (c *call) end(h *handle) {
	runtime.KeepAlive(h)
	C.hypeman_error_free(c.err)
	for i := len(c.atEnd) - 1; i >= 0; i-- {
		c.atEnd[i]()
	}
	if c.watch != nil && c.watch.panicked != nil {
		panic(c.watch.panicked)
	}
}

func (c *call) failure() error {
	failure := taken(c.err)
	failure.cause = because(c.ctx, failure)
	return failure
}

// because is the end of the context that made a call fail so; a VMM that does not answer in time is another reason.
func because(ctx context.Context, failure *Error) error {
	switch {
	case errors.Is(failure, ErrTimeout):
		if deadline, limited := ctx.Deadline(); limited && !time.Now().Before(deadline) {
			return context.DeadlineExceeded
		}
	case errors.Is(failure, ErrCancelled):
		return ctx.Err()
	}
	return nil
}

// room is zeroed memory of C's for the time of the call.
func (c *call) room(bytes C.size_t) unsafe.Pointer {
	made := C.calloc(1, bytes)
	c.atEnd = append(c.atEnd, func() { C.free(made) })
	return made
}

// text is a text for C, which would stop at a NUL inside it and so mean something else.
func (c *call) text(what, given string) *C.char {
	if strings.IndexByte(given, 0) >= 0 {
		panic(refused(fmt.Sprintf("%s has a NUL in it", what)))
	}
	made := C.CString(given)
	c.atEnd = append(c.atEnd, func() { C.free(unsafe.Pointer(made)) })
	return made
}

// optional is text, and NULL for "".
func (c *call) optional(what, given string) *C.char {
	if given == "" {
		return nil
	}
	return c.text(what, given)
}

func (c *call) tags(given map[string]string) (*C.hypeman_tag, C.size_t) {
	if len(given) == 0 {
		return nil, 0
	}
	made := (*C.hypeman_tag)(c.room(C.size_t(len(given)) * C.sizeof_hypeman_tag))
	tags := unsafe.Slice(made, len(given))[:0]
	for key, value := range given {
		tags = append(tags, C.hypeman_tag{key: c.text("a key of tags", key), value: c.text("a value of tags", value)})
	}
	return made, C.size_t(len(given))
}

func (c *call) compression(given SnapshotCompressionConfigParam) *C.hypeman_compression {
	if given == (SnapshotCompressionConfigParam{}) {
		return nil
	}
	made := (*C.hypeman_compression)(c.room(C.sizeof_hypeman_compression))
	made.struct_size = C.sizeof_hypeman_compression
	made.enabled = flag(given.Enabled)
	made.algorithm = c.optional("algorithm", string(given.Algorithm))
	made.has_level = flag(given.Level.Valid())
	made.level = C.int64_t(given.Level.Or(0))
	return made
}

// limits are the context and options of a long call, as the library takes them.
func (c *call) limits(opts []CallOption) *C.hypeman_call_options {
	var settings callSettings
	for _, option := range opts {
		option(&settings)
	}
	made := (*C.hypeman_call_options)(c.room(C.sizeof_hypeman_call_options))
	made.struct_size = C.sizeof_hypeman_call_options
	if deadline, limited := c.ctx.Deadline(); limited {
		made.timeout_ms = milliseconds(deadline)
	}
	made.cancel = c.cancelled()
	if settings.progress != nil {
		c.watch = &watcher{report: settings.progress}
		handle := cgo.NewHandle(c.watch)
		c.atEnd = append(c.atEnd, handle.Delete)
		made.progress = C.hypeman_progress_callback(unsafe.Pointer(C.hypemanGoProgress))
		made.user = C.hypemanGoKeep(C.uintptr_t(handle))
	}
	return made
}

// cancelled is a token that the end of the context cancels; its deadline, the library keeps itself.
func (c *call) cancelled() *C.hypeman_cancel {
	if c.ctx.Done() == nil {
		return nil
	}
	token := C.hypeman_cancel_new()
	over, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-c.ctx.Done():
			if errors.Is(c.ctx.Err(), context.Canceled) {
				C.hypeman_cancel_request(token)
			}
		case <-over:
		}
	}()
	c.atEnd = append(c.atEnd, func() {
		close(over)
		<-gone
		C.hypeman_cancel_free(token)
	})
	if errors.Is(c.ctx.Err(), context.Canceled) {
		C.hypeman_cancel_request(token)
	}
	return token
}

func flag(given bool) C.int32_t {
	if given {
		return 1
	}
	return 0
}
