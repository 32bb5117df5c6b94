//go:build linux && (amd64 || arm64 || riscv64)

package entry

import (
	"encoding/binary"
	"syscall"
	"testing"
	"unsafe"
)

// FuzzBlock: whatever an owner sends, a helper either refuses it or finds all that it names
// inside the block.
func FuzzBlock(f *testing.F) {
	const headSize = int(unsafe.Sizeof(Block{}))
	seed := func(change func(*Block), rest ...byte) {
		head := Block{Version: Version, Size: uint32(headSize + len(rest))}
		change(&head)
		b := make([]byte, 0, headSize+len(rest))
		b = append(b, unsafe.Slice((*byte)(unsafe.Pointer(&head)), headSize)...)
		f.Add(append(b, rest...))
	}
	at := uint32(headSize)
	list := binary.NativeEndian.AppendUint64(nil, uint64(at)+16)
	seed(func(b *Block) {})
	seed(func(b *Block) { b.Path = at }, '/', 0)
	seed(func(b *Block) { b.Argv = at }, append(list, 0, 0, 0, 0, 0, 0, 0, 0, 'a', 0)...)
	seed(func(b *Block) { b.Groups, b.NumGroups = at, 1 }, 1, 0, 0, 0, 0)
	seed(func(b *Block) { b.Groups, b.NumGroups = 1<<32-16, 4 }, make([]byte, 32)...)
	seed(func(b *Block) { b.Argv, b.Envp = at, at }, append(list, 0, 0, 0, 0, 0, 0, 0, 0, 'a', 0)...)
	f.Fuzz(func(t *testing.T, sent []byte) {
		if len(sent) > 1<<16 { // what a socket takes without a reader
			return
		}
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(fds[0])
		first := sent[:min(len(sent), headSize)]
		for _, part := range [][]byte{first, sent[len(first):]} {
			if _, err := syscall.Write(fds[1], part); err != nil {
				t.Fatal(err)
			}
		}
		syscall.Close(fds[1])

		h := &helper{channel: fds[0]}
		e := h.receive()
		if h.block != 0 {
			defer sys(_SYS_MUNMAP, h.block, uintptr(h.head.Size), 0, 0, 0)
		}
		if e < 0 || h.relocate() < 0 {
			return
		}
		size := uint64(h.head.Size)
		block := unsafe.Slice(*(**byte)(unsafe.Pointer(&h.block)), size)
		text := func(what string, offset uint64) {
			if offset >= size {
				t.Fatalf("%s at %d of %d", what, offset, size)
			}
			for ; block[offset] != 0; offset++ {
				if offset+1 == size {
					t.Fatalf("%s has no end", what)
				}
			}
		}
		for i := range 7 {
			if i != 3 && i != 4 { // those are lists
				text("a string", uint64(h.offset(i)))
			}
		}
		for _, from := range []uint32{h.head.Argv, h.head.Envp} {
			for at := uint64(from); at != 0; at += 8 {
				if at%8 != 0 || at+8 > size {
					t.Fatalf("a list at %d goes on to %d of %d", from, at, size)
				}
				address := binary.NativeEndian.Uint64(block[at:])
				if address == 0 {
					break
				}
				text("an entry", address-uint64(h.block))
			}
		}
		if end := uint64(h.head.Groups) + 4*uint64(h.head.NumGroups); end > size {
			t.Fatalf("groups up to %d of %d", end, size)
		}
	})
}
