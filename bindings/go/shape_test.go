package hypeman_test

import (
	"encoding/json"
	"os"
	"reflect"
	"sort"
	"strings"
	"testing"
	"unicode"

	"hypeman"
)

type shape struct {
	Version string
	Errors  []struct {
		Number     int
		Code       string
		HTTPStatus int `json:"http_status"`
	}
	Results          map[string]map[string]struct{ Optional bool }
	Requests         map[string][]string
	Phases           []hypeman.ProgressPhase
	LogLevels        []hypeman.LogLevel                 `json:"log_levels"`
	ExtentKinds      []hypeman.ExtentKind               `json:"extent_kinds"`
	FileStatuses     []hypeman.FileStatus               `json:"file_statuses"`
	DefectKinds      []hypeman.DefectKind               `json:"defect_kinds"`
	InstanceStates   []hypeman.InstanceState            `json:"instance_states"`
	Origins          []hypeman.InstanceOrigin           `json:"origins"`
	Durabilities     []hypeman.Durability               `json:"durabilities"`
	Duplicates       []hypeman.Duplicates               `json:"duplicates"`
	SnapshotKinds    []hypeman.SnapshotKind             `json:"snapshot_kinds"`
	Hypervisors      []hypeman.SourceHypervisor         `json:"hypervisors"`
	CompressionState []hypeman.SnapshotCompressionState `json:"compression_states"`
}

// api is the shape of the API, which every language has.
func api(t *testing.T) shape {
	t.Helper()
	var api shape
	must(0, json.Unmarshal(must(os.ReadFile("../../tests/conformance/api.json")), &api))
	return api
}

func TestResultsHaveTheFieldsOfTheAPI(t *testing.T) {
	ours := map[string]any{
		"Snapshot": hypeman.Snapshot{}, "CompressionConfig": hypeman.SnapshotCompressionConfig{},
		"Instance": hypeman.Instance{}, "Disk": hypeman.Disk{}, "Inspection": hypeman.Inspection{},
		"PayloadFile": hypeman.PayloadFile{}, "Capture": hypeman.Capture{}, "Host": hypeman.Host{},
		"MemoryExtent": hypeman.MemoryExtent{}, "MemoryRange": hypeman.MemoryRange{},
		"PagerMetrics": hypeman.PagerMetrics{},
		"VerifyReport": hypeman.VerifyReport{}, "VerifiedFile": hypeman.VerifiedFile{}, "Defect": hypeman.Defect{},
	}
	for name, fields := range api(t).Results {
		made := map[string]bool{}
		kind := reflect.TypeOf(ours[name])
		if kind == nil {
			t.Errorf("%s is not in the package", name)
			continue
		}
		for i := 0; i < kind.NumField(); i++ {
			key, options, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
			made[key] = options == "omitempty"
		}
		wanted := map[string]bool{}
		for key, field := range fields {
			wanted[key] = field.Optional
		}
		if !reflect.DeepEqual(made, wanted) {
			t.Errorf("%s has %v, the API %v (true: optional)", name, made, wanted)
		}
	}
}

func TestParametersAreThoseOfTheAPI(t *testing.T) {
	requests := api(t).Requests
	fork := append(requests["ForkSnapshot"], requests["RestoreSnapshot"]...)
	for i, name := range fork {
		if name == "restore" { // whose parameters stand beside the others
			fork = append(fork[:i:i], fork[i+1:]...)
			break
		}
	}
	for ours, wanted := range map[any][]string{
		reflect.TypeOf(hypeman.Options{}):                       requests["Options"],
		reflect.TypeOf(hypeman.InstanceRegisterParams{}):        requests["RegisterInstance"],
		reflect.TypeOf(hypeman.InstanceSnapshotNewParams{}):     requests["CreateSnapshot"],
		reflect.TypeOf(hypeman.InstanceSnapshotRestoreParams{}): append(requests["RestoreSnapshot"], "id"),
		reflect.TypeOf(hypeman.SnapshotForkParams{}):            fork,
		reflect.TypeOf(hypeman.SnapshotListParams{}):            requests["SnapshotFilter"],
		reflect.TypeOf(hypeman.SnapshotServeMemoryParams{}):     requests["ServeMemory"],
		reflect.TypeOf(hypeman.LogEvent{}):                      requests["LogEvent"],
		reflect.TypeOf(hypeman.Progress{}):                      requests["Progress"],
	} {
		var names []string
		for i := 0; i < ours.(reflect.Type).NumField(); i++ {
			names = append(names, snake(ours.(reflect.Type).Field(i).Name))
		}
		wanted = append([]string{}, wanted...)
		sort.Strings(names)
		sort.Strings(wanted)
		if !reflect.DeepEqual(names, wanted) {
			t.Errorf("%s has %v, the API %v", ours, names, wanted)
		}
	}
}

func TestWordsAreThoseOfTheAPI(t *testing.T) {
	api := api(t)
	same := func(ours, wanted any) {
		t.Helper()
		if !reflect.DeepEqual(ours, wanted) {
			t.Errorf("%v, the API has %v", ours, wanted)
		}
	}
	same([]hypeman.ProgressPhase{
		hypeman.ProgressPhasePreparing, hypeman.ProgressPhaseSavingMemory, hypeman.ProgressPhaseCopyingDisks,
		hypeman.ProgressPhaseSyncing, hypeman.ProgressPhaseCompressing, hypeman.ProgressPhaseVerifying,
	}, api.Phases)
	same([]hypeman.LogLevel{hypeman.LogLevelInfo, hypeman.LogLevelWarning}, api.LogLevels)
	same([]hypeman.ExtentKind{hypeman.ExtentKindData, hypeman.ExtentKindZero, hypeman.ExtentKindHole}, api.ExtentKinds)
	same([]hypeman.FileStatus{hypeman.FileStatusGood, hypeman.FileStatusDamaged, hypeman.FileStatusUnchecked}, api.FileStatuses)
	same([]hypeman.DefectKind{
		hypeman.DefectKindMissing, hypeman.DefectKindExtra, hypeman.DefectKindSize, hypeman.DefectKindContent,
		hypeman.DefectKindFrame, hypeman.DefectKindMetadata,
	}, api.DefectKinds)
	same([]hypeman.InstanceState{
		hypeman.InstanceStateCreated, hypeman.InstanceStateInitializing, hypeman.InstanceStateRunning,
		hypeman.InstanceStatePaused, hypeman.InstanceStateShutdown, hypeman.InstanceStateStandby,
		hypeman.InstanceStateStopped, hypeman.InstanceStateUnknown,
	}, api.InstanceStates)
	same([]hypeman.InstanceOrigin{hypeman.InstanceOriginRegistered, hypeman.InstanceOriginServer}, api.Origins)
	same([]hypeman.Durability{hypeman.DurabilityFull, hypeman.DurabilityRelaxed}, api.Durabilities)
	same([]hypeman.Duplicates{hypeman.DuplicatesAllow, hypeman.DuplicatesDeny}, api.Duplicates)
	same([]hypeman.SnapshotKind{hypeman.SnapshotKindStandby, hypeman.SnapshotKindStopped}, api.SnapshotKinds)
	same([]hypeman.SourceHypervisor{
		hypeman.SnapshotSourceHypervisorCloudHypervisor, hypeman.SnapshotSourceHypervisorFirecracker,
		hypeman.SnapshotSourceHypervisorQemu, hypeman.SnapshotSourceHypervisorQemuMicrovm,
		hypeman.SnapshotSourceHypervisorVz,
	}, api.Hypervisors)
	same([]hypeman.SnapshotCompressionState{
		hypeman.SnapshotCompressionStateNone, hypeman.SnapshotCompressionStateCompressing,
		hypeman.SnapshotCompressionStateCompressed, hypeman.SnapshotCompressionStateError,
	}, api.CompressionState)
}

func TestErrorsAreThoseOfTheTable(t *testing.T) {
	ours := []*hypeman.Error{
		hypeman.ErrInvalidRequest, hypeman.ErrNotFound, hypeman.ErrConflict, hypeman.ErrInvalidState,
		hypeman.ErrNotSupported, hypeman.ErrCorrupt, hypeman.ErrIncompatible, hypeman.ErrNoSpace, hypeman.ErrPermission,
		hypeman.ErrBusy, hypeman.ErrHypervisor, hypeman.ErrTimeout, hypeman.ErrCancelled, hypeman.ErrIO,
		hypeman.ErrClosed, hypeman.ErrInternal,
	}
	table := api(t).Errors
	if len(ours) != len(table) {
		t.Fatalf("%d errors, the table has %d", len(ours), len(table))
	}
	for i, row := range table {
		if ours[i].Code != row.Code || ours[i].Number != row.Number || ours[i].StatusCode != row.HTTPStatus {
			t.Errorf("%+v, the table has %+v", ours[i], row)
		}
	}
}

// snake is a name of Go's as the API has it: SourceInstanceID is source_instance_id.
func snake(name string) string {
	var made strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		begins := i > 0 && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if begins {
			made.WriteByte('_')
		}
		made.WriteRune(unicode.ToLower(r))
	}
	return made.String()
}
