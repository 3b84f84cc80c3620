// Bears a hostile store through the Go package: runner ENTRIES DATA_DIR INSTANCE_DIR (see ../../corpus/runner.rs).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hypeman"
)

var ctx = context.Background()

func main() {
	entries, data, instance := os.Args[1], os.Args[2], os.Args[3]
	syscall.Umask(0)
	memoryFile := filepath.Join(instance, "snapshots/snapshot-latest/memory")
	client, err := hypeman.Open(data, nil)
	must(err)
	fmt.Println("list", listed(client))
	must(os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
	baseline := status("VmRSS")
	text, err := os.ReadFile(entries)
	must(err)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		label, id, _ := strings.Cut(line, " ")
		verify := verified(client, id)
		_, err := client.Snapshots.Get(ctx, id)
		get := code(err)
		_, err = client.Snapshots.Inspect(ctx, id)
		inspect := code(err)
		memory := code(readMemory(client, id))
		_, err = client.Instances.Snapshots.Restore(ctx, id, hypeman.InstanceSnapshotRestoreParams{ID: "web"})
		restore := code(err)
		os.Remove(memoryFile)
		fmt.Printf("%s get=%s inspect=%s verify=%s memory=%s restore=%s delete=%s\n",
			label, get, inspect, verify, memory, restore, code(client.Snapshots.Delete(ctx, id)))
	}
	must(os.WriteFile(memoryFile, []byte("memory"), 0o600))
	fmt.Println("create", code(create(client)))
	fmt.Println("list", listed(client))
	must(client.Close())
	grown := status("VmHWM") - baseline
	if grown < 0 {
		grown = 0
	}
	fmt.Println("rss", grown)
}

func create(client *hypeman.Client) error {
	made, err := client.Instances.Snapshots.New(ctx, "web", hypeman.InstanceSnapshotNewParams{
		Kind:        hypeman.SnapshotKindStandby,
		Compression: hypeman.SnapshotCompressionConfigParam{Enabled: true, Algorithm: "zstd"},
	})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err = client.Snapshots.Wait(limited, made.ID)
	return err
}

func verified(client *hypeman.Client, id string) string {
	report, err := client.Snapshots.Verify(ctx, id)
	switch {
	case err != nil:
		return code(err)
	case report.IsGood():
		return "good"
	case len(report.Defects) == 0:
		return "unchecked"
	}
	return "bad"
}

// readMemory reads a MiB at the start, in the middle and at the end.
func readMemory(client *hypeman.Client, id string) error {
	image, err := client.Snapshots.Memory(ctx, id)
	if err != nil {
		return err
	}
	defer image.Close()
	size, buffer := image.Size(), make([]byte, 1<<20)
	last := size - 1<<20
	if last < 0 {
		last = 0
	}
	for _, at := range []int64{0, size / 2, last} {
		if _, err := image.ReadAt(buffer, at); err != nil && err != io.EOF {
			return err
		}
	}
	return nil
}

func listed(client *hypeman.Client) string {
	found, err := client.Snapshots.List(ctx, hypeman.SnapshotListParams{})
	if err != nil {
		return code(err)
	}
	return strconv.Itoa(len(*found))
}

func code(err error) string {
	var failure *hypeman.Error
	if err == nil {
		return "ok"
	}
	if errors.As(err, &failure) {
		return failure.Code
	}
	return err.Error()
}

func status(name string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	must(err)
	found := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
	kib, err := strconv.ParseInt(string(found[1]), 10, 64)
	must(err)
	return kib * 1024
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
