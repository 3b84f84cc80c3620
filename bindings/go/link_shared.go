//go:build !hypeman_static

package hypeman

// #cgo pkg-config: hypeman
import "C"
