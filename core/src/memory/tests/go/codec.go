// Compresses and decompresses as a server written in Go does: with klauspost's zstd and pierrec's lz4.
//
//	codec compress|decompress zstd|lz4 LEVEL FROM TO
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4"
)

const pieceBytes = 1 << 20

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) != 5 {
		return fmt.Errorf("usage: codec compress|decompress zstd|lz4 LEVEL FROM TO")
	}
	level, err := strconv.Atoi(words[2])
	if err != nil {
		return err
	}
	from, err := os.Open(words[3])
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.Create(words[4])
	if err != nil {
		return err
	}
	switch words[0] + " " + words[1] {
	case "compress zstd":
		err = compressZstd(from, to, level)
	case "compress lz4":
		err = compressLz4(from, to, level)
	case "decompress zstd":
		err = decompressZstd(from, to)
	case "decompress lz4":
		_, err = copyAll(to, lz4.NewReader(from))
	default:
		err = fmt.Errorf("there is no %q", words[0]+" "+words[1])
	}
	if err != nil {
		return err
	}
	return to.Close()
}

func compressZstd(from io.Reader, to io.Writer, level int) error {
	encoder, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
	if err != nil {
		return err
	}
	if _, err := copyAll(encoder, from); err != nil {
		return err
	}
	return encoder.Close()
}

func decompressZstd(from io.Reader, to io.Writer) error {
	decoder, err := zstd.NewReader(from)
	if err != nil {
		return err
	}
	defer decoder.Close()
	_, err = copyAll(to, decoder)
	return err
}

func compressLz4(from io.Reader, to io.Writer, level int) error {
	encoder := lz4.NewWriter(to)
	encoder.Header.CompressionLevel = level
	if _, err := copyAll(encoder, from); err != nil {
		return err
	}
	return encoder.Close()
}

// Hides WriteTo and ReadFrom, which read and write in their own ways.
func copyAll(to io.Writer, from io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, pieceBytes))
}
