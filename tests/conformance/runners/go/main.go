// Plays a conformance case through the Go package: runner CASE.json DATA_DIR WORK_DIR (see ../../README.md).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"hypeman"
)

type step struct {
	Call string         `json:"call"`
	Args map[string]any `json:"args"`
	Save string         `json:"save"`
}

func main() {
	file, data, work := os.Args[1], os.Args[2], os.Args[3]
	text, err := os.ReadFile(file)
	must(err)
	var story struct {
		Options map[string]any `json:"options"`
		Steps   []step         `json:"steps"`
	}
	must(json.Unmarshal([]byte(strings.NewReplacer("${work}", work, "${data}", data).Replace(string(text))), &story))

	var options hypeman.Options
	fill(&options, story.Options)
	client, err := hypeman.Open(data, &options)
	if err != nil {
		answer(nil, err)
		return
	}
	defer client.Close()
	saved, opened := map[string]map[string]any{}, map[string]any{}
	for _, step := range story.Steps {
		if name := notExpressible(step); name != "" {
			fmt.Printf("{\"not_expressible\": %q}\n", name)
			continue
		}
		made, err := play(client, opened, step.Call, arguments(filledIn(step.Args, saved).(map[string]any)))
		if step.Save != "" {
			opened[step.Save] = made
		}
		result := answer(plain(made), err)
		if fields, is := result.(map[string]any); is && step.Save != "" {
			saved[step.Save] = fields
		}
	}
}

// notExpressible is the argument of a step that the package cannot be given: "" is none for a kind in a filter and for an
// algorithm, as in the vendor's client.
func notExpressible(step step) string {
	if step.Call == "snapshots.list" && step.Args["kind"] == "" {
		return "kind"
	}
	if settings, _ := step.Args["compression"].(map[string]any); settings["algorithm"] == "" {
		return "algorithm"
	}
	return ""
}

type arguments map[string]any

func play(client *hypeman.Client, opened map[string]any, call string, args arguments) (any, error) {
	ctx, id := context.Background(), args.text("id")
	if limit, given := args["timeout_ms"]; given {
		limited, cancel := context.WithTimeout(ctx, time.Duration(limit.(float64))*time.Millisecond)
		defer cancel()
		ctx = limited
	}
	switch of := opened[args.text("of")].(type) {
	case *hypeman.Memory:
		return playMemory(of, call, args)
	case *hypeman.Pager:
		return playPager(ctx, of, call)
	}
	switch call {
	case "instances.register":
		var params hypeman.InstanceRegisterParams
		fill(&params, args)
		return client.Instances.Register(ctx, params)
	case "instances.get":
		return client.Instances.Get(ctx, id)
	case "instances.list":
		return client.Instances.List(ctx)
	case "instances.unregister":
		return nil, client.Instances.Unregister(ctx, id)
	case "instances.snapshots.create":
		var params hypeman.InstanceSnapshotNewParams
		fill(&params, args)
		return client.Instances.Snapshots.New(ctx, id, params)
	case "instances.snapshots.restore":
		var params hypeman.InstanceSnapshotRestoreParams
		fill(&params, args)
		return client.Instances.Snapshots.Restore(ctx, args.text("snapshot_id"), params)
	case "snapshots.fork":
		var params hypeman.SnapshotForkParams
		fill(&params, args)
		return client.Snapshots.Fork(ctx, id, params)
	case "snapshots.list":
		var query hypeman.SnapshotListParams
		fill(&query, args)
		return client.Snapshots.List(ctx, query)
	case "snapshots.get":
		return client.Snapshots.Get(ctx, id)
	case "snapshots.delete":
		return nil, client.Snapshots.Delete(ctx, id)
	case "snapshots.wait":
		return client.Snapshots.Wait(ctx, id)
	case "snapshots.compress":
		var settings struct {
			Compression hypeman.SnapshotCompressionConfigParam
		}
		fill(&settings, args)
		return client.Snapshots.Compress(ctx, id, settings.Compression)
	case "snapshots.cancel_compression":
		return client.Snapshots.CancelCompression(ctx, id)
	case "snapshots.inspect":
		return client.Snapshots.Inspect(ctx, id)
	case "snapshots.verify":
		return client.Snapshots.Verify(ctx, id)
	case "snapshots.memory":
		return client.Snapshots.Memory(ctx, id)
	case "snapshots.serve_memory":
		var params hypeman.SnapshotServeMemoryParams
		fill(&params, args)
		return client.Snapshots.ServeMemory(ctx, id, params)
	case "finish":
		return nil, client.Finish(ctx)
	case "close":
		return nil, client.Close()
	}
	panic("no such call: " + call)
}

// answer prints the line that tells how a call went, and returns the fields of its result.
func answer(result any, err error) any {
	line := map[string]any{"ok": result}
	if err != nil {
		var failure *hypeman.Error
		if !errors.As(err, &failure) {
			panic(err)
		}
		facts := map[string]any{"code": failure.Code, "message": failure.Message}
		var told map[string]any
		must(json.Unmarshal([]byte(failure.RawJSON()), &told))
		for _, name := range []string{"id", "path"} {
			if fact, is := told[name]; is {
				facts[name] = fact
			}
		}
		line = map[string]any{"error": facts}
	}
	text, err := json.Marshal(line)
	must(err)
	fmt.Println(string(text))
	var back map[string]any
	must(json.Unmarshal(text, &back))
	return back["ok"]
}

func (a arguments) text(name string) string {
	text, _ := a[name].(string)
	return text
}

var place = regexp.MustCompile(`\$\{(\w+)\.(\w+)\}`)

// filledIn puts fields of saved results in the place of ${name.field}.
func filledIn(value any, saved map[string]map[string]any) any {
	switch value := value.(type) {
	case string:
		return place.ReplaceAllStringFunc(value, func(found string) string {
			names := place.FindStringSubmatch(found)
			return fmt.Sprint(saved[names[1]][names[2]])
		})
	case []any:
		for i := range value {
			value[i] = filledIn(value[i], saved)
		}
	case map[string]any:
		for key := range value {
			value[key] = filledIn(value[key], saved)
		}
	}
	return value
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
