// Keeper takes a snapshot of every VM that a data directory knows, reads what it took before, byte by byte, and deletes
// what need not be kept. It is made for a timer that runs it at night:
//
//	keeper -keep 7 -younger 720h /var/lib/hypeman
//
// Of each VM it keeps the newest good ones, and all that are younger. A damaged one is told of and does not count, so that
// an older one stays in its place. It looks at no snapshot without its own tag. SIGINT and SIGTERM end it: a VM that is
// being captured goes on at once, and nothing more is deleted.
//
// It ends with 0 when every VM was captured and everything that is kept is as it was captured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hypeman"
)

// mark is the tag that says which snapshots are ours to delete.
var mark = map[string]string{"kept-by": "keeper"}

type keeper struct {
	client *hypeman.Client
	// keep is how many good snapshots each VM has at least, and younger how old one is at most that stays besides.
	keep    int
	younger time.Duration
	// patience is for the capture of one VM, jobs how many are worked on at a time.
	patience time.Duration
	jobs     int

	failures atomic.Int32
}

func (k *keeper) night(ctx context.Context) error {
	instances, err := k.client.Instances.List(ctx)
	if err != nil {
		return err
	}
	each(ctx, k.jobs, *instances, func(vm hypeman.Instance) { k.capture(ctx, vm) })
	// Checksums and compressed files are made in the background; before that there is nothing to verify by.
	if err := k.client.Finish(ctx); err != nil {
		return err
	}
	ours, err := k.client.Snapshots.List(ctx, hypeman.SnapshotListParams{Tags: mark})
	if err != nil {
		return err
	}
	each(ctx, k.jobs, bySource(*ours), func(of []hypeman.Snapshot) { k.tend(ctx, of) })
	return ctx.Err()
}

func (k *keeper) capture(ctx context.Context, vm hypeman.Instance) {
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	kind := hypeman.SnapshotKindStandby
	if vm.State == hypeman.InstanceStateStopped {
		kind = hypeman.SnapshotKindStopped
	}
	made, err := k.client.Instances.Snapshots.New(ctx, vm.ID, hypeman.InstanceSnapshotNewParams{Kind: kind, Tags: mark})
	if err != nil {
		k.failed("%s: not captured: %v", vm.Name, err)
		return
	}
	fmt.Printf("%s: took %s, %s\n", vm.Name, made.ID, made.Kind)
}

// tend keeps and deletes snapshots of one VM, the newest first. What is to be deleted is not read before.
func (k *keeper) tend(ctx context.Context, snapshots []hypeman.Snapshot) {
	good := 0
	for _, one := range snapshots {
		switch {
		case ctx.Err() != nil:
			return
		case good >= k.keep && time.Since(one.CreatedAt) > k.younger:
			k.drop(ctx, one)
		case k.isGood(ctx, one):
			good++
			fmt.Printf("%s: keeps %s\n", one.SourceInstanceName, one.ID)
		}
	}
}

func (k *keeper) isGood(ctx context.Context, one hypeman.Snapshot) bool {
	report, err := k.client.Snapshots.Verify(ctx, one.ID)
	if errors.Is(err, hypeman.ErrNotFound) || ctx.Err() != nil {
		// Someone else has deleted it, or the night is over.
		return false
	}
	if err != nil {
		k.failed("%s: cannot verify %s: %v", one.SourceInstanceName, one.ID, err)
		return false
	}
	for _, defect := range report.Defects {
		k.failed("%s: %s is damaged: %s: %s", one.SourceInstanceName, one.ID, defect.Path, defect.Message)
	}
	if len(report.Defects) == 0 && !report.IsGood() {
		k.failed("%s: %s has files without checksums", one.SourceInstanceName, one.ID)
	}
	return report.IsGood()
}

func (k *keeper) drop(ctx context.Context, one hypeman.Snapshot) {
	err := k.client.Snapshots.Delete(ctx, one.ID)
	switch {
	case err == nil:
		fmt.Printf("%s: dropped %s of %s\n", one.SourceInstanceName, one.ID, one.CreatedAt.Format(time.RFC3339))
	case errors.Is(err, hypeman.ErrBusy):
		// Someone restores or reads it. The next night is soon enough.
		fmt.Printf("%s: %s is in use\n", one.SourceInstanceName, one.ID)
	case !errors.Is(err, hypeman.ErrNotFound):
		k.failed("%s: cannot delete %s: %v", one.SourceInstanceName, one.ID, err)
	}
}

func (k *keeper) failed(format string, details ...any) {
	k.failures.Add(1)
	log.Printf(format, details...)
}

// bySource has the snapshots of each VM together, in the order in which they come. VMs that are gone have theirs, too.
func bySource(snapshots []hypeman.Snapshot) [][]hypeman.Snapshot {
	var groups [][]hypeman.Snapshot
	index := map[string]int{}
	for _, one := range snapshots {
		at, known := index[one.SourceInstanceID]
		if !known {
			at = len(groups)
			index[one.SourceInstanceID] = at
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], one)
	}
	return groups
}

// each does something with every item, with at most jobs of them at a time, and begins with no more when ctx has ended.
func each[T any](ctx context.Context, jobs int, items []T, do func(T)) {
	var all sync.WaitGroup
	defer all.Wait()
	places := make(chan struct{}, jobs)
	for _, item := range items {
		places <- struct{}{}
		if ctx.Err() != nil {
			return
		}
		all.Add(1)
		go func(item T) {
			defer all.Done()
			do(item)
			<-places
		}(item)
	}
}

func run(ctx context.Context) error {
	k := &keeper{}
	flag.IntVar(&k.keep, "keep", 7, "good snapshots of each VM to keep at least")
	flag.DurationVar(&k.younger, "younger", 0, "keep also what is not older")
	flag.DurationVar(&k.patience, "patience", 10*time.Minute, "for the capture of one VM")
	flag.IntVar(&k.jobs, "jobs", 2, "VMs to work on at a time")
	flag.Parse()
	if flag.NArg() != 1 || k.keep < 1 || k.jobs < 1 {
		return errors.New("usage: keeper [-keep N] [-younger AGE] [-patience TIME] [-jobs N] DATA_DIR; each N is 1 or more")
	}
	client, err := hypeman.Open(flag.Arg(0), &hypeman.Options{
		Compression: hypeman.SnapshotCompressionConfigParam{Enabled: true},
		Log: func(event hypeman.LogEvent) {
			if event.Level == hypeman.LogLevelWarning {
				log.Printf("%s: %s", event.ID, event.Message)
			}
		},
	})
	if err != nil {
		return err
	}
	defer client.Close()
	k.client = client
	if err := k.night(ctx); err != nil {
		return err
	}
	if failures := k.failures.Load(); failures > 0 {
		return fmt.Errorf("failures: %d", failures)
	}
	return nil
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("keeper: ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}
