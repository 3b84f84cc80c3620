// The keeper, as a timer runs it.
package main_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hypeman"
)

var ctx = context.Background()

// patience is for what ends in seconds, on a busy machine.
const patience = 2 * time.Minute

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

var (
	building sync.Once
	program  string
)

func TestMain(m *testing.M) {
	place := must(os.MkdirTemp("", "keeper"))
	program = filepath.Join(place, "keeper")
	status := m.Run()
	os.RemoveAll(place)
	os.Exit(status)
}

// keeper is a command that runs the program with one job at a time.
func keeper(t *testing.T, client *hypeman.Client, arguments ...string) *exec.Cmd {
	t.Helper()
	building.Do(func() {
		if said, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
			panic(fmt.Sprintf("%v: %s", err, said))
		}
	})
	return exec.Command(program, append(append([]string{"-jobs", "1"}, arguments...), client.DataDir())...)
}

// night runs the keeper, which must end with status, and returns what it says: to stdout and to stderr.
func night(t *testing.T, client *hypeman.Client, status int, arguments ...string) (string, string) {
	t.Helper()
	var out, err bytes.Buffer
	command := keeper(t, client, arguments...)
	command.Stdout, command.Stderr = &out, &err
	command.Run()
	if command.ProcessState.ExitCode() != status {
		t.Fatalf("%v\n%s%s", command.ProcessState, out.String(), err.String())
	}
	return out.String(), err.String()
}

func open(t *testing.T) *hypeman.Client {
	t.Helper()
	client := must(hypeman.Open(filepath.Join(t.TempDir(), "data"), nil))
	t.Cleanup(func() { client.Close() })
	return client
}

// register tells of a VM with a disk, in a directory whose path is short: sockets live in it.
func register(t *testing.T, client *hypeman.Client, name string) (directory string) {
	t.Helper()
	directory = must(os.MkdirTemp("", "hm"))
	t.Cleanup(func() { os.RemoveAll(directory) })
	must(0, os.WriteFile(filepath.Join(directory, "disk.raw"), bytes.Repeat([]byte{7}, 65536), 0o600))
	must(client.Instances.Register(ctx, hypeman.InstanceRegisterParams{
		Name: name, Hypervisor: "qemu", Directory: directory, APISocket: filepath.Join(directory, "qmp"),
	}))
	return directory
}

// ids of the snapshots of a VM, the newest first.
func ids(client *hypeman.Client, vm string) (found []string) {
	for _, one := range *must(client.Snapshots.List(ctx, hypeman.SnapshotListParams{})) {
		if one.SourceInstanceName == vm {
			found = append(found, one.ID)
		}
	}
	return found
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func TestTheNewestGoodSnapshotsOfEachVMAreKept(t *testing.T) {
	client := open(t)
	register(t, client, "db")
	register(t, client, "web")
	others := must(client.Instances.Snapshots.New(ctx, "web", hypeman.InstanceSnapshotNewParams{Kind: "Stopped"})).ID
	for i := 0; i < 3; i++ {
		night(t, client, 0, "-keep", "2")
	}
	web := ids(client, "web")
	if len(ids(client, "db")) != 2 || len(web) != 3 || web[2] != others {
		t.Fatalf("after three nights: %v, %v", ids(client, "db"), web)
	}

	disk := filepath.Join(client.DataDir(), "snapshots", web[0], "guest/disk.raw")
	must(0, os.WriteFile(disk, bytes.Repeat([]byte{8}, 65536), 0o600))
	out, err := night(t, client, 1, "-keep", "2")
	if !strings.Contains(err, "keeper: web: "+web[0]+" is damaged: guest/disk.raw: ") {
		t.Errorf("damage: %s", err)
	}
	if !strings.Contains(out, "web: keeps "+web[1]+"\n") || len(ids(client, "web")) != 4 {
		t.Errorf("what is damaged counts: %s", out)
	}
	if strings.Count(out, "db: dropped ") != 1 || strings.Contains(out, "web: dropped ") {
		t.Errorf("the others: %s", out)
	}

	if out, _ = night(t, client, 0, "-keep", "2"); !strings.Contains(out, "web: dropped "+web[0]+" of ") {
		t.Errorf("two good ones are newer than what is damaged: %s", out)
	}
	if out, _ = night(t, client, 0, "-keep", "1", "-younger", "1h"); strings.Contains(out, "dropped") {
		t.Errorf("all are young: %s", out)
	}
	if now := ids(client, "web"); len(now) != 4 || now[3] != others {
		t.Errorf("in the end: %v", now)
	}
}

func TestAVMThatRunsIsCapturedAndGoesOn(t *testing.T) {
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		missing(t, "qemu", "qemu-system-x86_64 is not installed")
	}
	client := open(t)
	directory := register(t, client, "web")
	vm := exec.Command(qemu, "-machine", "pc,accel=tcg", "-m", "32", "-nodefaults", "-display", "none",
		"-drive", "file="+filepath.Join(directory, "disk.raw")+",format=raw,if=ide",
		"-qmp", "unix:"+filepath.Join(directory, "qmp")+",server=on,wait=off")
	must(0, vm.Start())
	defer func() {
		vm.Process.Kill()
		vm.Wait()
	}()
	runs := func() bool { return must(client.Instances.Get(ctx, "web")).State == hypeman.InstanceStateRunning }
	eventually(t, "the VM runs", runs)
	out, _ := night(t, client, 0)
	found := *must(client.Snapshots.List(ctx, hypeman.SnapshotListParams{Tags: map[string]string{"kept-by": "keeper"}}))
	if len(found) != 1 || out != fmt.Sprintf("web: took %s, Standby\nweb: keeps %[1]s\n", found[0].ID) {
		t.Fatalf("%+v: %s", found, out)
	}
	if found[0].CompressionState != hypeman.SnapshotCompressionStateCompressed {
		t.Errorf("its memory: %+v", found[0])
	}
	if !runs() {
		t.Error("it does not run any more")
	}
}

// silent is a VMM that greets and says no more: a capture takes until it is ended. It returns how many came to it.
func silent(t *testing.T, socket string) func() int {
	listener := must(net.Listen("unix", socket))
	t.Cleanup(func() { listener.Close() })
	var mutex sync.Mutex
	var guests []net.Conn
	go func() {
		for {
			guest, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(guest, `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}`+"\r\n")
			mutex.Lock()
			guests = append(guests, guest)
			mutex.Unlock()
		}
	}()
	return func() int {
		mutex.Lock()
		defer mutex.Unlock()
		return len(guests)
	}
}

func TestAVMMThatIsSilentHoldsUpNoOtherVM(t *testing.T) {
	client := open(t)
	register(t, client, "web")
	silent(t, filepath.Join(register(t, client, "db"), "qmp"))
	out, err := night(t, client, 1, "-patience", "500ms")
	if !strings.Contains(out, "web: took ") || !strings.Contains(out, "web: keeps ") {
		t.Errorf("the other VM: %s", out)
	}
	if !strings.Contains(err, "keeper: db: not captured: ") || !strings.HasSuffix(err, "keeper: failures: 1\n") {
		t.Errorf("the silent one: %s", err)
	}
}

func TestASignalEndsTheNightAndNothingIsDeleted(t *testing.T) {
	client := open(t)
	register(t, client, "db")
	night(t, client, 0)
	visits := silent(t, filepath.Join(register(t, client, "web"), "qmp"))
	command := keeper(t, client, "-keep", "1")
	var said bytes.Buffer
	command.Stderr = &said
	lines := bufio.NewReader(must(command.StdoutPipe()))
	must(0, command.Start())
	if line := must(lines.ReadString('\n')); !strings.HasPrefix(line, "db: took ") {
		t.Errorf("first it says %q", line)
	}
	// Once for the list of instances, and once to be captured.
	eventually(t, "the silent VM is being captured", func() bool { return visits() >= 2 })
	must(0, command.Process.Signal(syscall.SIGTERM))
	command.Wait()
	if command.ProcessState.ExitCode() != 1 || !strings.Contains(said.String(), "keeper: web: not captured: ") {
		t.Errorf("%v: %s", command.ProcessState, said.String())
	}
	if left := ids(client, "db"); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

func TestItSaysHowItIsUsed(t *testing.T) {
	if _, err := night(t, open(t), 1, "-keep", "0"); !strings.HasPrefix(err, "keeper: usage: keeper [-keep N]") {
		t.Error(err)
	}
}

// missing leaves a test out for want of something, unless $HYPEMAN_REQUIRE names that.
func missing(t *testing.T, what, why string) {
	t.Helper()
	for _, name := range strings.Split(os.Getenv("HYPEMAN_REQUIRE"), ",") {
		if strings.TrimSpace(name) == what {
			t.Fatalf("HYPEMAN_REQUIRE names %s, but %s", what, why)
		}
	}
	fmt.Printf("SKIP %s: %s\n", t.Name(), why)
	t.SkipNow()
}
