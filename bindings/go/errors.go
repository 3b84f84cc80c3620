package hypeman

// #include <hypeman.h>
import "C"

import (
	"context"
	"errors"
	"syscall"
)

// Error is what a failed call answers:
//
//	var failure *hypeman.Error
//	if errors.As(err, &failure) && failure.Code == "not_found" { ... }
//	if errors.Is(err, hypeman.ErrNotFound) { ... }
//
// Where a context ended the call, errors.Is finds [context.Canceled] or [context.DeadlineExceeded], too; where the system
// refused something, its [syscall.Errno].
type Error struct {
	// Code is the stable code string, the same in every language.
	Code string
	// Number is the stable number, as in C.
	Number int
	// StatusCode is the HTTP status that a server would answer.
	StatusCode int
	// Message says what happened, to what, and what to do about it. Its words may change.
	Message string
	// ID of the snapshot or instance concerned, or "".
	ID string
	// Path concerned, or "".
	Path string
	// Errno is the error number of the operating system, or 0.
	Errno syscall.Errno

	raw   string
	cause error
}

// The errors of the library by their codes, for errors.Is.
var (
	ErrInvalidRequest = kind(C.HYPEMAN_STATUS_INVALID_REQUEST)
	ErrNotFound       = kind(C.HYPEMAN_STATUS_NOT_FOUND)
	ErrConflict       = kind(C.HYPEMAN_STATUS_CONFLICT)
	ErrInvalidState   = kind(C.HYPEMAN_STATUS_INVALID_STATE)
	ErrNotSupported   = kind(C.HYPEMAN_STATUS_NOT_SUPPORTED)
	ErrCorrupt        = kind(C.HYPEMAN_STATUS_CORRUPT)
	ErrIncompatible   = kind(C.HYPEMAN_STATUS_INCOMPATIBLE)
	ErrNoSpace        = kind(C.HYPEMAN_STATUS_NO_SPACE)
	ErrPermission     = kind(C.HYPEMAN_STATUS_PERMISSION)
	ErrBusy           = kind(C.HYPEMAN_STATUS_BUSY)
	ErrHypervisor     = kind(C.HYPEMAN_STATUS_HYPERVISOR)
	ErrTimeout        = kind(C.HYPEMAN_STATUS_TIMEOUT)
	ErrCancelled      = kind(C.HYPEMAN_STATUS_CANCELLED)
	ErrIO             = kind(C.HYPEMAN_STATUS_IO)
	ErrClosed         = kind(C.HYPEMAN_STATUS_CLOSED)
	ErrInternal       = kind(C.HYPEMAN_STATUS_INTERNAL)
)

func (e *Error) Error() string { return e.Message }

// RawJSON is the error as the library tells it: code, status, message and, where there are such, id, path and errno.
func (e *Error) RawJSON() string { return e.raw }

// Is tells whether target is one of the errors by code above, and this has its code.
func (e *Error) Is(target error) bool {
	other, is := target.(*Error)
	return is && other.Message == "" && other.Code == e.Code
}

// Unwrap is the end of the context, or the error of the operating system.
func (e *Error) Unwrap() error {
	if e.cause != nil {
		return e.cause
	}
	if e.Errno != 0 {
		return e.Errno
	}
	return nil
}

func owned(text *C.char) string {
	defer C.hypeman_string_free(text)
	return C.GoString(text)
}

func kind(status C.int32_t) *Error {
	return &Error{
		Code: C.GoString(C.hypeman_status_code(status)), Number: int(status),
		StatusCode: int(C.hypeman_status_http(status)),
	}
}

// taken copies an error of the library's, which its call frees.
func taken(raw *C.hypeman_error) *Error {
	failure := kind(C.int32_t(C.hypeman_error_status(raw)))
	failure.Code = C.GoString(C.hypeman_error_code(raw))
	failure.Message = C.GoString(C.hypeman_error_message(raw))
	failure.ID = C.GoString(C.hypeman_error_id(raw))
	failure.Path = C.GoString(C.hypeman_error_path(raw))
	failure.Errno = syscall.Errno(C.hypeman_error_errno(raw))
	failure.raw = owned(C.hypeman_error_to_json(raw))
	return failure
}

func refused(message string) *Error { return failed(C.HYPEMAN_STATUS_INVALID_REQUEST, message) }

func closed(message string) *Error { return failed(C.HYPEMAN_STATUS_CLOSED, message) }

func failed(status C.int32_t, message string) *Error {
	failure := kind(status)
	failure.Message = message
	return failure
}

// ended is the error of a call that was not made because its context had ended.
func ended(cause error) *Error {
	failure := kind(C.HYPEMAN_STATUS_CANCELLED)
	if errors.Is(cause, context.DeadlineExceeded) {
		failure = kind(C.HYPEMAN_STATUS_TIMEOUT)
	}
	failure.Message, failure.cause = "the call was not made: "+cause.Error(), cause
	return failure
}
