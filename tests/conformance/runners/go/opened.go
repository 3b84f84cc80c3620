package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io"

	"hypeman"
)

func playMemory(memory *hypeman.Memory, call string, args arguments) (any, error) {
	switch call {
	case "memory.read_at":
		length, _ := args["length"].(float64)
		offset, _ := args["offset"].(float64)
		buffer := make([]byte, int(length))
		count, err := memory.ReadAt(buffer, int64(offset))
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return hex.EncodeToString(buffer[:count]), err
	case "memory.extents":
		return memory.Extents()
	case "memory.ranges":
		return memory.Ranges()
	case "memory.close":
		return nil, memory.Close()
	}
	panic("no such call: " + call)
}

func playPager(ctx context.Context, pager *hypeman.Pager, call string) (any, error) {
	switch call {
	case "pager.metrics":
		return pager.Metrics()
	case "pager.wait":
		return nil, pager.Wait(ctx)
	case "pager.stop":
		return nil, pager.Stop()
	}
	panic("no such call: " + call)
}

// plain is what is printed of a result.
func plain(result any) any {
	switch result := result.(type) {
	case *hypeman.Memory:
		if result == nil {
			return nil
		}
		return map[string]any{"snapshot_id": result.SnapshotID(), "path": result.Path(), "size_bytes": result.Size()}
	case *hypeman.Pager:
		if result == nil {
			return nil
		}
		return map[string]any{"snapshot_id": result.SnapshotID(), "socket": result.Socket()}
	}
	return result
}
