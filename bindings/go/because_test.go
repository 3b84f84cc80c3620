package hypeman

import (
	"context"
	"testing"
	"time"
)

func TestAVMMThatIsLateIsNotADeadlineThatPassed(t *testing.T) {
	patient, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	over, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, one := range []struct {
		ctx     context.Context
		failure *Error
		because error
	}{
		{patient, ErrTimeout, nil},
		{over, ErrTimeout, context.DeadlineExceeded},
		{cancelled, ErrCancelled, context.Canceled},
		{cancelled, ErrNotFound, nil},
		{context.Background(), ErrTimeout, nil},
	} {
		if got := because(one.ctx, one.failure); got != one.because {
			t.Errorf("%v with %v: because of %v", one.failure.Code, one.ctx, got)
		}
	}
}
