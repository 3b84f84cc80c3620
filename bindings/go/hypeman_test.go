package hypeman_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hypeman"
)

// ctx is the one of calls that nothing ends.
var ctx = context.Background()

// memory is what the guest of standby has: 4 MiB, a quarter of which is not zero.
func memory() []byte {
	made := make([]byte, 4<<20)
	for i := range made[:1<<20] {
		made[i] = byte(i / 7)
	}
	return made
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func open(t *testing.T, options *hypeman.Options) *hypeman.Client {
	t.Helper()
	client := must(hypeman.Open(filepath.Join(t.TempDir(), "data"), options))
	t.Cleanup(func() { client.Close() })
	return client
}

// stopped registers a VM that does not run, with a disk of 64 KiB.
func stopped(t *testing.T, client *hypeman.Client, name string) *hypeman.Instance {
	t.Helper()
	directory := t.TempDir()
	must(0, os.WriteFile(filepath.Join(directory, "disk.raw"), bytes.Repeat([]byte{7}, 65536), 0o600))
	return must(client.Instances.Register(ctx, hypeman.InstanceRegisterParams{
		Name: name, Hypervisor: "qemu", Directory: directory,
		Disks: []hypeman.Disk{{Path: filepath.Join(directory, "disk.raw"), Readonly: true}},
	}))
}

// standby registers a VM whose guest memory lies beside its disk.
func standby(t *testing.T, client *hypeman.Client, name string, hypervisor hypeman.SourceHypervisor) *hypeman.Instance {
	t.Helper()
	directory := t.TempDir()
	image := filepath.Join(directory, "snapshots/snapshot-latest")
	must(0, os.MkdirAll(image, 0o700))
	must(0, os.WriteFile(filepath.Join(image, "memory"), memory(), 0o600))
	must(0, os.WriteFile(filepath.Join(directory, "disk.raw"), bytes.Repeat([]byte{7}, 65536), 0o600))
	return must(client.Instances.Register(ctx, hypeman.InstanceRegisterParams{
		Name: name, Hypervisor: hypervisor, Directory: directory,
	}))
}

func TestTheLifeOfASnapshot(t *testing.T) {
	client := open(t, nil)
	vm := stopped(t, client, "vm1")
	if vm.State != hypeman.InstanceStateStopped || !vm.Disks[0].Readonly {
		t.Errorf("registered: %+v", vm)
	}
	var phases []hypeman.ProgressPhase
	made, err := client.Instances.Snapshots.New(ctx, "vm1", hypeman.InstanceSnapshotNewParams{
		Kind: hypeman.SnapshotKindStopped,
		Name: hypeman.String("baseline"),
		Tags: map[string]string{"team": "backend", "env": ""},
	}, hypeman.WithProgress(func(p hypeman.Progress) { phases = append(phases, p.Phase) }))
	if err != nil {
		t.Fatal(err)
	}
	if made.Kind != hypeman.SnapshotKindStopped || made.SourceInstanceID != vm.ID || made.Tags["team"] != "backend" {
		t.Errorf("made: %+v", made)
	}
	if age := time.Since(made.CreatedAt); age < 0 || age > time.Hour {
		t.Errorf("made %s ago", age)
	}
	if len(phases) == 0 || phases[0] != hypeman.ProgressPhasePreparing {
		t.Errorf("heard of %v", phases)
	}

	found := *must(client.Snapshots.List(ctx, hypeman.SnapshotListParams{
		Kind: hypeman.SnapshotKindStopped, Name: hypeman.String("baseline"), Tags: map[string]string{"env": ""},
	}))
	if len(found) != 1 || found[0].ID != made.ID {
		t.Errorf("found: %+v", found)
	}
	if none := *must(client.Snapshots.List(ctx, hypeman.SnapshotListParams{Name: hypeman.String("")})); len(none) != 0 {
		t.Errorf("without a name: %+v", none)
	}
	if got := must(client.Snapshots.Get(ctx, made.ID)); got.Name != "baseline" {
		t.Errorf("got: %+v", got)
	}
	restored, err := client.Instances.Snapshots.Restore(ctx, made.ID, hypeman.InstanceSnapshotRestoreParams{ID: vm.ID})
	if err != nil || restored.State != hypeman.InstanceStateStopped {
		t.Errorf("restored: %+v, %v", restored, err)
	}
	fork, err := client.Snapshots.Fork(ctx, made.ID, hypeman.SnapshotForkParams{Name: "vm2"})
	if err != nil || fork.Name != "vm2" {
		t.Errorf("forked: %+v, %v", fork, err)
	}
	must(0, client.Finish(ctx))
	if report := must(client.Snapshots.Verify(ctx, made.ID)); !report.IsGood() || len(report.Files) == 0 {
		t.Errorf("verified: %+v", report)
	}
	must(0, client.Snapshots.Delete(ctx, made.ID))
	if _, err := client.Snapshots.Get(ctx, made.ID); !errors.Is(err, hypeman.ErrNotFound) {
		t.Errorf("after it was deleted: %v", err)
	}
}

func TestMemoryIsReadAtAnyOffsetCompressedOrNot(t *testing.T) {
	client := open(t, nil)
	vm := standby(t, client, "vm1", "qemu")
	made := must(client.Instances.Snapshots.New(ctx, vm.ID, hypeman.InstanceSnapshotNewParams{
		Kind:        hypeman.SnapshotKindStandby,
		Compression: hypeman.SnapshotCompressionConfigParam{Enabled: true, Algorithm: "lz4", Level: hypeman.Int(0)},
	}))
	done := must(client.Snapshots.Wait(ctx, made.ID))
	if done.CompressionState != hypeman.SnapshotCompressionStateCompressed || *done.Compression.Level != 0 {
		t.Fatalf("compressed: %+v", done)
	}
	image := must(client.Snapshots.Memory(ctx, made.ID))
	if !bytes.Equal(must(io.ReadAll(io.NewSectionReader(image, 0, image.Size()))), memory()) {
		t.Error("the image has other bytes")
	}
	if n, err := image.ReadAt(make([]byte, 10), image.Size()-4); n != 4 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	end := int64(0)
	for _, extent := range must(image.Extents()) {
		if extent.Offset != end || extent.SizeBytes <= 0 || extent.Kind == "" {
			t.Errorf("an extent at %d: %+v", end, extent)
		}
		end += extent.SizeBytes
	}
	if end != image.Size() {
		t.Errorf("the extents end at %d", end)
	}
	if _, err := image.Ranges(); !errors.Is(err, hypeman.ErrNotSupported) {
		t.Errorf("ranges of QEMU's stream: %v", err)
	}
	if err := client.Snapshots.Delete(ctx, made.ID); !errors.Is(err, hypeman.ErrBusy) {
		t.Errorf("while it is read: %v", err)
	}
	must(0, image.Close())
	must(0, image.Close())
	if _, err := image.ReadAt(make([]byte, 1), 0); !errors.Is(err, hypeman.ErrClosed) {
		t.Errorf("after it was closed: %v", err)
	}
	must(0, client.Snapshots.Delete(ctx, made.ID))
}

func TestAPagerServesUntilItIsStopped(t *testing.T) {
	client := open(t, nil)
	vm := standby(t, client, "vm1", "firecracker")
	made := must(client.Instances.Snapshots.New(ctx, vm.ID, hypeman.InstanceSnapshotNewParams{Kind: "Standby"}))
	socket := filepath.Join(must(os.MkdirTemp("", "pager")), "s")
	defer os.RemoveAll(filepath.Dir(socket))
	params := hypeman.SnapshotServeMemoryParams{Socket: socket, Fill: true, Prefetch: hypeman.Opt(false), Cpus: []uint32{0}}
	pager, err := client.Snapshots.ServeMemory(ctx, made.ID, params)
	if err != nil {
		t.Fatal(err)
	}
	if pager.Socket() != socket || pager.SnapshotID() != made.ID {
		t.Errorf("%s serves %s", pager.Socket(), pager.SnapshotID())
	}
	if _, err := client.Snapshots.ServeMemory(ctx, made.ID, params); !errors.Is(err, hypeman.ErrConflict) {
		t.Errorf("at a place that is taken: %v", err)
	}
	params.SpinUs, params.Socket = hypeman.Int(1001), ""
	if _, err := client.Snapshots.ServeMemory(ctx, made.ID, params); !errors.Is(err, hypeman.ErrInvalidRequest) {
		t.Errorf("spinning too long: %v", err)
	}
	limited, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := pager.Wait(limited); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a VM: %v", err)
	}
	waited := make(chan error)
	go func() { waited <- pager.Wait(ctx) }()
	must(0, pager.Stop())
	if err := <-waited; !errors.Is(err, hypeman.ErrClosed) {
		t.Errorf("stopped while someone waited: %v", err)
	}
	if metrics := must(pager.Metrics()); metrics.VmsSeen != 0 || len(metrics.FaultUs) == 0 {
		t.Errorf("%+v", metrics)
	}
	must(0, pager.Close())
	must(0, pager.Close())
	if _, err := pager.Metrics(); !errors.Is(err, hypeman.ErrClosed) {
		t.Errorf("after it was closed: %v", err)
	}
	must(0, client.Snapshots.Delete(ctx, made.ID))
}

func TestAPagerOutlivesAClientThatIsForgotten(t *testing.T) {
	dataDir, id := filepath.Join(t.TempDir(), "data"), ""
	serve := func() *hypeman.Pager {
		client := must(hypeman.Open(dataDir, nil))
		vm := standby(t, client, "vm1", "firecracker")
		id = must(client.Instances.Snapshots.New(ctx, vm.ID, hypeman.InstanceSnapshotNewParams{Kind: "Standby"})).ID
		return must(client.Snapshots.ServeMemory(ctx, id, hypeman.SnapshotServeMemoryParams{}))
	}
	pager := serve()
	defer pager.Close()
	collect()
	limited, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := pager.Wait(limited); !errors.Is(err, hypeman.ErrTimeout) {
		t.Errorf("it does not serve any more: %v", err)
	}
}

func TestMemoryThatIsForgottenIsClosed(t *testing.T) {
	client := open(t, nil)
	vm := standby(t, client, "vm1", "qemu")
	made := must(client.Instances.Snapshots.New(ctx, vm.ID, hypeman.InstanceSnapshotNewParams{Kind: "Standby"}))
	func() { must(client.Snapshots.Memory(ctx, made.ID)).Size() }()
	collect()
	must(0, client.Snapshots.Delete(ctx, made.ID))
}

// collect has everything finalized that no one can reach.
func collect() {
	for i := 0; i < 3; i++ {
		runtime.GC()
		time.Sleep(50 * time.Millisecond)
	}
}

func TestAnErrorHasItsCodeNumberStatusIDAndPath(t *testing.T) {
	client := open(t, nil)
	_, err := client.Snapshots.Get(ctx, "nosuchsnapshot")
	var failure *hypeman.Error
	if !errors.As(err, &failure) {
		t.Fatalf("%T: %v", err, err)
	}
	if failure.Code != "not_found" || failure.Number != 2 || failure.StatusCode != 404 || failure.ID != "nosuchsnapshot" {
		t.Errorf("%+v", failure)
	}
	if !errors.Is(err, hypeman.ErrNotFound) || errors.Is(err, hypeman.ErrConflict) {
		t.Error("errors.Is goes by the code")
	}
	place := filepath.Join(t.TempDir(), "file")
	must(0, os.WriteFile(place, nil, 0o600))
	_, err = hypeman.Open(filepath.Join(place, "data"), nil)
	if !errors.As(err, &failure) || failure.Path == "" || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%+v", err)
	}
}

func TestATextThatCWouldCutShortIsRefused(t *testing.T) {
	client := open(t, nil)
	_, err := client.Snapshots.List(ctx, hypeman.SnapshotListParams{Name: hypeman.String("base\x00line")})
	if !errors.Is(err, hypeman.ErrInvalidRequest) {
		t.Errorf("%v", err)
	}
}

func TestAContextThatEndsEndsTheCall(t *testing.T) {
	client := open(t, nil)
	vm := stopped(t, client, "vm1")
	params := hypeman.InstanceSnapshotNewParams{Kind: hypeman.SnapshotKindStopped}

	cancelled, cancel := context.WithCancel(ctx)
	_, err := client.Instances.Snapshots.New(cancelled, vm.ID, params, hypeman.WithProgress(func(hypeman.Progress) {
		cancel()
		time.Sleep(50 * time.Millisecond)
	}))
	if !errors.Is(err, context.Canceled) || !errors.Is(err, hypeman.ErrCancelled) {
		t.Errorf("cancelled in its middle: %v", err)
	}
	if _, err := client.Snapshots.Get(cancelled, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	limited, cancel := context.WithTimeout(ctx, 0)
	defer cancel()
	_, err = client.Instances.Snapshots.New(limited, vm.ID, params)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, hypeman.ErrTimeout) {
		t.Errorf("past its deadline: %v", err)
	}
	if left := *must(client.Snapshots.List(ctx, hypeman.SnapshotListParams{})); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}

func TestAPanicInACallbackIsTheCallersAndLeavesNothing(t *testing.T) {
	client := open(t, nil)
	vm := stopped(t, client, "vm1")
	params := hypeman.InstanceSnapshotNewParams{Kind: hypeman.SnapshotKindStopped}
	func() {
		defer func() {
			if panicked := recover(); panicked != "mine" {
				t.Errorf("panicked: %v", panicked)
			}
		}()
		client.Instances.Snapshots.New(ctx, vm.ID, params, hypeman.WithProgress(func(hypeman.Progress) { panic("mine") }))
	}()
	// The library is as it was: it holds no lock, and nothing was made.
	must(client.Instances.Snapshots.New(ctx, vm.ID, params))
	if all := *must(client.Snapshots.List(ctx, hypeman.SnapshotListParams{})); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

func TestTheLogIsHeard(t *testing.T) {
	var heard atomic.Int32
	client := open(t, &hypeman.Options{Log: func(event hypeman.LogEvent) {
		if event.Level == hypeman.LogLevelInfo && event.Message != "" && event.ID != "" {
			heard.Add(1)
		}
	}})
	vm := stopped(t, client, "vm1")
	must(client.Instances.Snapshots.New(ctx, vm.ID, hypeman.InstanceSnapshotNewParams{Kind: "Stopped"}))
	must(0, client.Finish(ctx))
	if heard.Load() == 0 {
		t.Error("nothing was heard")
	}
}

func TestARecordThatGoCannotReadHidesNoOther(t *testing.T) {
	client := open(t, nil)
	vm := stopped(t, client, "vm1")
	params := hypeman.InstanceSnapshotNewParams{Kind: hypeman.SnapshotKindStopped}
	good := must(client.Instances.Snapshots.New(ctx, vm.ID, params))
	for from, to := range map[string]string{
		`"size_bytes": [0-9]+`:  `"size_bytes": 18446744073709551615`,
		`"created_at": "[^"]+"`: `"created_at": "-000001-01-01T00:00:00Z"`,
	} {
		evil := must(client.Instances.Snapshots.New(ctx, vm.ID, params))
		record := filepath.Join(client.DataDir(), "snapshots", evil.ID, "snapshot.json")
		text := must(os.ReadFile(record))
		must(0, os.WriteFile(record, regexp.MustCompile(from).ReplaceAll(text, []byte(to)), 0o600))
		if _, err := client.Snapshots.Get(ctx, evil.ID); !errors.Is(err, hypeman.ErrCorrupt) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if all := *must(client.Snapshots.List(ctx, hypeman.SnapshotListParams{})); len(all) != 1 || all[0].ID != good.ID {
		t.Errorf("%+v", all)
	}
}

func TestGoroutinesShareAClientThatIsClosedUnderThem(t *testing.T) {
	client := open(t, nil)
	vm := stopped(t, client, "vm1")
	made := must(client.Instances.Snapshots.New(ctx, vm.ID, hypeman.InstanceSnapshotNewParams{Kind: "Stopped"}))
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				got, err := client.Snapshots.Get(ctx, made.ID)
				if errors.Is(err, hypeman.ErrClosed) {
					return
				}
				if err != nil || got.ID != made.ID {
					t.Errorf("%+v, %v", got, err)
					return
				}
				runtime.GC()
			}
		}()
	}
	time.Sleep(50 * time.Millisecond)
	must(0, client.Close())
	must(0, client.Close())
	group.Wait()
}

func TestTheVersionIsThatOfTheLibrary(t *testing.T) {
	if hypeman.Version() != api(t).Version {
		t.Errorf("%s, api.json has %s", hypeman.Version(), api(t).Version)
	}
}
